"""Review the audit logs of a vault: what `Vault.audit` and `mvault audit` offer.

Nothing here needs a private key but signing a report, looking up a value that
is kept as a keyed hash, and moving one's own waiting records.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vault.actions import (
    keyring,
    reviewing_finding,
    reviewing_indexing,
    reviewing_proofs,
    reviewing_report_check,
    reviewing_reporting,
    reviewing_status,
    reviewing_verifying,
)
from vault.actions.reviewing_finding import Proved, Shown
from vault.actions.reviewing_indexing import Indexed
from vault.actions.reviewing_proofs import Checked
from vault.actions.reviewing_replaying import MEMORY, TRUST_FILE
from vault.actions.reviewing_report_check import ReportChecked
from vault.actions.reviewing_reporting import Asked, Written
from vault.actions.reviewing_status import Repaired, Status
from vault.actions.reviewing_verifying import Verification
from vault.actions.session import Session
from vault.arguments import given
from vault.core import audit_record, limits, log_names, log_proof, names
from vault.core.names import Environment
from vault.errors import NotFound, Unavailable
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.anchoring import Anchored
    from vault.actions.witnessing import Witnessed
    from vault.audit.query import Filter, Row
    from vault.audit.summary import Summary

FORMATS = ("jsonl", "csv", "ocsf", "cef")
_PAGE = 1_000


@dataclass(slots=True)
class Audit:
    """The audit logs of one vault, for whoever reviews them. `Vault.audit` gives one.

    Every method may raise `vault.VaultError`: `Refused` when the trust documents
    do not verify, `Unavailable`, `NotFound`.
    """

    session: Session
    settings: Settings
    _indexed: Indexed | None = field(default=None, repr=False)

    @property
    def indexed(self) -> Indexed:
        """The index, as it is; `refresh` brings it up to the logs."""
        if self._indexed is None:
            place = reviewing_indexing.folder(self.session, self.settings.state_dir)
            self._indexed = Indexed(self.session, place)
        return self._indexed

    def refresh(self) -> Indexed:
        """Take in what the logs have that the index has not; `.troubles` says of which logs that failed.

        Raises:
            Refused, Unavailable.
        """
        self.indexed.refresh()
        return self.indexed

    # --- looking ---

    def log(self, asked: "Filter | None" = None, *, attempts: bool = False) -> "Iterator[Row]":
        """Give records, newest first; `asked` is a `vault.audit.query.Filter`.

        An attempt whose outcome is there as well is left out, unless `attempts`.

        Raises:
            Refused, Unavailable.
        """
        from vault.audit import query

        indexed = self.refresh()
        found = query.pages(indexed.index, asked or query.EVERYTHING)
        return (row for row in found if attempts or not self._superseded(indexed, row))

    @staticmethod
    def _superseded(indexed: Indexed, row: "Row") -> bool:
        record = row.record
        return (
            record is not None
            and record.decision == audit_record.PENDING
            and indexed.has_outcome(record.record_id)
        )

    def follow(self, asked: "Filter", row: int, *, attempts: bool = False) -> "tuple[Sequence[Row], int]":
        """Give what came into the logs after a row of the index, oldest first, and the row to go on from.

        Raises:
            Refused, Unavailable.
        """
        from vault.audit import query

        indexed = self.refresh()
        found = query.following(indexed.index, asked, row=row)
        last = found[-1].row if found else row
        return [entry for entry in found if attempts or not self._superseded(indexed, entry)], last

    def newest_row(self) -> int:
        """Give the last row of the index, from which `follow` goes on.

        Raises:
            Refused, Unavailable.
        """
        from vault.audit import query

        return query.newest(self.indexed.index)

    def show(self, what: str) -> Shown:
        """Give one record, its attempt or outcomes, and where the evidence lies; see `reviewing_finding.one`.

        Raises:
            NotFound, ValueError, Refused, Unavailable.
        """
        return reviewing_finding.show(self.session, self.refresh(), what)

    def export(self, form: str, asked: "Filter | None" = None) -> Iterator[bytes]:
        """Write records in a format of `FORMATS`, a line each, in the order in which they were indexed.

        Raises:
            ValueError: there is no such format.
            Refused, Unavailable.
        """
        from vault._version import __version__
        from vault.audit import query
        from vault.core import audit_export

        if form not in FORMATS:
            raise ValueError(f"There is no format {form!r}; there are {', '.join(FORMATS)}.")
        index = self.refresh().index
        if form == "csv":
            yield audit_export.csv_header()
        row, vault = 0, self.session.pin
        while found := query.following(index, asked or query.EVERYTHING, row=row, most=_PAGE):
            for entry in found:
                if form == "jsonl":
                    yield audit_export.json_line(entry)
                elif form == "csv":
                    yield audit_export.csv_line(entry)
                elif form == "ocsf":
                    yield audit_export.ocsf_line(entry, vault=vault, version=__version__)
                else:
                    yield audit_export.cef_line(entry, vault=vault, version=__version__)
            row = found[-1].row

    def lookup(self, env: str, value: str) -> tuple[str, ...]:
        """Give the keyed hashes under which an environment keeps a host or a subject, one for each epoch.

        Raises:
            NotFound: the policy has no such environment.
            NoUsableKey: this identity cannot read there.
            Refused, Unavailable.
        """
        environment = given(names.environment, env)
        rule = self.session.trust().policy.environments.get(environment)
        if rule is None:
            raise NotFound(f"There is no environment {environment}.", subject=environment)
        keys = [
            keyring.environment_key(self.session, environment, epoch.number)
            for epoch in reversed(rule.epochs)
        ]
        return tuple(audit_record.hashed(audit_record.hash_key(key.encode()), value) for key in keys)

    def kept_as(self, hashes: Sequence[str], env: Environment) -> "Iterator[Row]":
        """Give the records of an environment, newest first, whose host or subject is kept as one of these.

        Raises:
            Refused, Unavailable.
        """
        from vault.audit import query

        for row in query.holding(self.refresh().index, ("host", "subject"), hashes):
            if row.record is not None and row.record.environment == env:
                yield row

    def summary(self, *, since: int, until: int) -> "Summary":
        """Tell what was unusual in a time, against each actor's own past; in seconds since 1970.

        Raises:
            ValueError: the time ends before it begins.
            Refused, Unavailable.
        """
        from vault.audit import summary

        return summary.summarise(self.refresh().index, since=since, until=until)

    # --- proving ---

    @property
    def _memory(self) -> str:
        """What is remembered here, as sentences name it."""
        return MEMORY if self.settings.trust is None else TRUST_FILE

    def verify(self, log: str | None = None) -> Verification:
        """Replay every log, or one, from its files, and compare it with all that is known of it.

        Raises:
            ValueError: that is no name of a log.
            NotFound, Refused, Unavailable.
        """
        wanted = None if log is None else given(log_names.parse, log)
        return reviewing_verifying.verify(self.session, wanted, memory=self._memory)

    def prove(self, what: str, *, witnesses: int = 0) -> Proved:
        """Prove that a record is in its log, as a C2SP tlog-proof; `witnesses` of them must have cosigned it.

        Raises:
            NotFound, ValueError, Refused, Unavailable.
        """
        return reviewing_finding.prove(self.session, self.refresh(), what, witnesses=witnesses)

    def check_proof(self, data: bytes, *, witnesses: int = 0) -> Checked:
        """Check a proof under this vault's policy; only its trust documents are read.

        Raises:
            Refused, NotFound, Unavailable: it does not hold, or the policy cannot be had.
        """
        return reviewing_proofs.check(self.session, log_proof.parse(data, "The proof"), witnesses=witnesses)

    # --- holding writers to one history ---

    def witness(self, log: str | None = None, *, begin: bool = False) -> "Witnessed":
        """Cosign every log that this identity may witness, or one, if it continues what was cosigned before.

        `begin` lets a witness begin that remembers nothing.

        Raises:
            ValueError: that is no name of a log.
            AccessDenied, NoUsableKey, NotFound, Refused, Unavailable.
        """
        from vault.actions import witnessing

        wanted = None if log is None else given(log_names.parse, log)
        return witnessing.witness(self.session, self.settings.state_dir, wanted, begin=begin)

    def anchor(self, env: str | None = None) -> "Anchored":
        """Record the heads of all access logs in the trust log, or in the log of an environment.

        Raises:
            AccessDenied, Conflict, NoUsableKey, NotFound, Refused, Unavailable.
        """
        from vault.actions import anchoring

        return anchoring.anchor(self.session, None if env is None else given(names.environment, env))

    # --- reporting ---

    def report(self, folder: Path, asked: Asked) -> Written:
        """Verify every log and write a report; it is signed where there is an identity.

        Raises:
            Conflict, NoUsableKey, Refused, Unavailable.
        """
        return reviewing_reporting.write(self.session, self.indexed, asked, folder, memory=self._memory)

    def check_report(self, path: Path) -> ReportChecked:
        """Check a report: its signature, and that the logs still continue its checkpoints.

        Raises:
            NotFound, Refused, Unavailable.
        """
        return reviewing_report_check.check(self.session, path)

    def status(self) -> Status:
        """Tell what waits on this machine, what the logs have, and who may write them.

        Raises:
            Refused, Unavailable.
        """
        return reviewing_status.status(self.session, self.settings, self.refresh())

    # --- setting right ---

    def flush(self) -> int:
        """Move this identity's waiting records into its access log; give how many there were.

        Raises:
            AccessDenied, NoUsableKey, Conflict, Refused, Unavailable.
        """
        return reviewing_status.flush(self.session)

    def repair(self) -> Repaired:
        """Move what waits, and write again what is wrong of tiles and checkpoints, which follow from the log.

        Raises:
            Refused, Unavailable.
        """
        return reviewing_status.repair(self.session)


def read_proof(path: Path) -> bytes:
    """Read a file that may be a proof.

    Raises:
        NotFound, Unavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limits.PROOF_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
