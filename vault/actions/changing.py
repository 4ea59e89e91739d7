"""Change who may do what: draft, sign and apply policies and roots, in files that people pass around."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vault import policyfile
from vault.actions import (
    applying,
    auditing,
    ballots,
    compiling,
    draft_files,
    drafting,
    identities,
    policy_reading,
    teaming,
)
from vault.actions.applying import Applied, Standing, Status
from vault.actions.ballots import Ballot
from vault.actions.draft_files import Draft
from vault.actions.init import Joining
from vault.actions.session import Session
from vault.actions.teaming import Changed, Team
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.core.policy_diff import Difference

Files = Mapping[Principal, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Written:
    """A draft and the file that it was written to."""

    path: Path
    draft: Draft


@dataclass(frozen=True, slots=True)
class Signing:
    """Drafts that were signed, as they stand now, and what the policy among them would change."""

    drafts: tuple[Standing, ...]
    change: Difference | None


class Changes:
    """Drafts for one vault. Every method may raise `vault.VaultError`."""

    def __init__(self, session: Session) -> None:
        """Work on an opened vault."""
        self._session = session

    def draft(
        self,
        file: Path,
        output: Path | None = None,
        *,
        keys: Files | None = None,
        expires: str | None = None,
        new_era: bool = False,
    ) -> Written:
        """Compile a policy file and write the draft to `output`, by default `policy-N.json` here.

        `keys` are files of public identities by name, beside those in the folder
        `identities/` next to the policy file. `expires` is a length of time, such
        as `1y`, or `never`. `new_era` begins an era: see docs/policy.md. The file
        `in-force` stands for the policy of the vault as it is.

        Raises:
            NotFound: a file is not there, or somebody new has no public identity.
            Malformed, ValueError: a file does not hold together.
            Conflict: there is a file at `output`.
            Refused, Unavailable, NoUsableKey.
        """
        if str(file) == policy_reading.IN_FORCE:
            base = drafting.base_of(self._session, new_era=new_era)
            same = drafting.next_policy(self._session, base, base.policy, expires=expires, new_era=new_era)
            return _write(same, output or Path(f"policy-{same.document.version}.json"))
        source = policyfile.parse(policyfile.read(file), str(file))
        given = {name: list(found) for name, found in public_identities(keys or {}).items()}
        for name, found in compiling.found_beside(file, source.principals).items():
            given[name] = [*found, *given.get(name, [])]
        made = drafting.policy_draft(self._session, source, given, expires=expires, new_era=new_era)
        return _write(made, output or Path(f"policy-{made.document.version}.json"))

    def draft_root(
        self,
        output: Path | None = None,
        *,
        holders: Files | None = None,
        threshold: int | None = None,
        expires: str | None = None,
    ) -> tuple[Written, ...]:
        """Write the draft of the next root, by default to `root-N.json` here, and of the policy with it.

        `holders` are all its people, each with files of public identities, or none
        for somebody whom the vault knows. Without them it is a renewal.

        Raises:
            ValueError, NotFound, Malformed, Conflict, Refused, Unavailable.
        """
        keys = None
        if holders is not None:
            joining = public_identities(holders)
            keys = {name: [entry.public for entry in joining[name]] for name in holders}
        root, policy = drafting.root_draft(self._session, keys, threshold=threshold, expires=expires)
        place = output or Path(f"root-{root.document.version}.json")
        beside = [] if policy is None else [(policy, place.with_name(f"policy-for-{place.name}"))]
        return tuple(_write(made, path) for made, path in [*beside, (root, place)])

    def look(self, *files: Path) -> tuple[Ballot, Difference | None]:
        """Read drafts that belong together, and tell what the policy among them would change.

        Raises:
            Conflict, DigestMismatch, Rollback, ValueError, NotFound, Malformed, Unavailable.
        """
        found = ballots.ballot(self._session, [draft_files.read(path) for path in files])
        base = self._session.trust()
        document = None if found.policy is None else found.policy.document
        if not isinstance(document, Policy):
            return found, None
        return found, applying.compared(base.policy, document)

    def sign(self, *files: Path) -> Signing:
        """Add this identity's signature to drafts that belong together.

        Raises:
            AccessDenied: this identity holds no key of the root.
            Conflict, DigestMismatch, Rollback, ValueError, NotFound, Malformed, Unavailable, NoUsableKey.
        """
        with auditing.acting(self._session, "policy", "signature of a draft", None):
            found, change = self.look(*files)
            ballots.sign(found, self._session.identity, files)
            after, _ = self.look(*files)
        return Signing(applying.standings(after), change)

    def apply(self, *files: Path, accept_outage: bool = False, lift_withdrawals: bool = False) -> Applied:
        """Put signed drafts in force.

        Raises:
            UntrustedSigner: too few root holders have signed (`threshold-not-met`).
            Refused: channels that are in use would stop (`outage`), or versions that were withdrawn
                would come back (`withdrawal-lapses`).
            Conflict: somebody else was first.
            DigestMismatch, Rollback, ValueError, NotFound, Malformed, Unavailable.
        """
        drafts = [draft_files.read(path) for path in files]
        return applying.apply(
            self._session, drafts, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals
        )

    def status(self, *files: Path) -> Status:
        """Tell what is in force and who signed it, and what drafts lack and would do.

        Raises:
            As `look`.
        """
        return applying.status(self._session, [draft_files.read(path) for path in files])

    def team(self) -> Team:
        """List who is in the vault and who holds its root.

        Raises:
            Rollback, Refused, NotFound, Unavailable.
        """
        return teaming.team(self._session)

    def add(
        self,
        name: Principal,
        files: Sequence[Path],
        *,
        roles: Sequence[Principal] = (),
        models: tuple[str, ...] | None = None,
        owners: Sequence[Principal] = (),
        root_holder: bool = False,
        starter: bool = False,
        accept_outage: bool = False,
        lift_withdrawals: bool = False,
    ) -> Changed:
        """Let somebody join by a public identity, or give them more; see `teaming.add`.

        Raises:
            NotFound, Malformed, ValueError, Refused, Conflict, Unavailable, NoUsableKey.
        """
        joining = public_identities({name: files})[name]
        with auditing.acting(self._session, "policy", f"team add {name}", None):
            return teaming.add(
                self._session,
                joining,
                roles=roles,
                models=models,
                owners=owners,
                root_holder=root_holder,
                starter=starter,
                accept_outage=accept_outage,
                lift_withdrawals=lift_withdrawals,
            )

    def retire(
        self, name: Principal, *, accept_outage: bool = False, lift_withdrawals: bool = False
    ) -> Changed:
        """Let somebody leave in peace: what the logs have of them counts on; see `teaming.retire`.

        Raises:
            NotFound, ValueError, AccessDenied, Refused, Conflict, Unavailable, NoUsableKey.
        """
        with auditing.acting(self._session, "policy", f"team retire {name}", None):
            return teaming.retire(
                self._session, name, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals
            )

    def remove(
        self, name: Principal, *, accept_outage: bool = False, lift_withdrawals: bool = False
    ) -> Changed:
        """Take somebody out of the policy and the root; see `teaming.remove`.

        Raises:
            NotFound, ValueError, Refused, Conflict, Unavailable, NoUsableKey.
        """
        with auditing.acting(self._session, "policy", f"team remove {name}", None):
            return teaming.remove(
                self._session, name, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals
            )


def public_identities(files: Files) -> dict[Principal, list[Joining]]:
    """Read public identities that somebody passed on, by the names that they are to have.

    Raises:
        NotFound, Unavailable, Malformed, ValueError: see `identities.joining`.
    """
    return {name: [identities.joining(path, name) for path in paths] for name, paths in files.items()}


def _write(made: Draft, path: Path) -> Written:
    draft_files.write_new(path, made)
    return Written(path, made)
