"""The exception tree of the vault, and every code that an error may carry.

A code is a stable name for scripts and audits; its meaning is in `CODES`. The
exit status beside each class is what the command ends with (README, "Exit
status").
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

CODES: Mapping[str, str] = MappingProxyType(
    {
        # Malformed: bytes that cannot be what their place says they are.
        "malformed-json": "a document is not strict JSON in its one canonical form",
        "malformed-envelope": "an envelope is not a DSSE envelope in its canonical form",
        "malformed-document": "a signed document has a field that is missing, unknown or of the wrong shape",
        "malformed-name": "a model, version, environment, path or other name breaks the grammar",
        "malformed-key": "a public key, recipient or identity line cannot be parsed, or is weak",
        "malformed-header": "an age header breaks the age v1 grammar",
        "malformed-identity": "an identity file is not one, or was damaged",
        "malformed-archive": "a zip container is damaged, ambiguous or over a limit",
        "malformed-trust": "a trust file is not one, or was damaged",
        "malformed-log": "a commit, checkpoint, tile or proof of an audit log cannot be parsed",
        "too-large": "an object is larger than the limit for its kind, or than its record says",
        "wrong-payload-type": "an envelope holds another kind of document than its place says",
        # Signatures and the people behind them.
        "unsigned": "there is no signature where one is required",
        "bad-signature": "a signature does not fit the bytes that it covers",
        "untrusted-signer": "the signer is unknown, revoked, or may not sign this here",
        "threshold-not-met": "too few different trusted keys have signed",
        # What was signed is not what is stored.
        "digest-mismatch": "content differs from the digest that was signed for it",
        "misplaced": "a genuine document lies under a name, model, version or vault that is not its own",
        "size-mismatch": "content has another size than was signed",
        "decrypt-failed": "ciphertext does not authenticate: it was altered, truncated or belongs elsewhere",
        "key-mismatch": "a key opened, but is not the key that was signed for",
        # Who may.
        "access-denied": "the policy does not allow this action to this identity here",
        "key-service-denied": "the key service's own access control refused, or it refuses to use the key",
        "not-promoted": "no record in this environment names that version",
        "lock-mismatch": "a lock names another version of this, another vault, or does not name it at all",
        "barred": "the version was withdrawn from this environment",
        "no-audit-record": "the environment demands a record, and none can be kept",
        "approvals-missing": "too few different people have approved this version for this environment",
        "outage": "a change of policy would stop channels that are in use",
        "withdrawal-lapses": "a change of policy would let versions back in that were withdrawn",
        "not-tested": "no tester who counts signed that this version passed a load test",
        # Formats.
        "format-refused": "the format is not allowed here, or content, extension and record disagree",
        "format-content": "the static stage found something in the file that may not be there",
        "pins-mismatch": "what the file mentions differs from what was recorded when it was published",
        "not-allowed": "the file mentions a type or a global outside the operator's allowance",
        "libraries-differ": "a pickle-based format was saved with other library versions",
        "pickle-refused": "a pickle does something that the gate does not permit",
        "conversion-failed": "a legacy file was not converted: it cannot be, or what came back does not hold",
        "no-sandbox": "this kernel cannot confine the process that would load a legacy pickle",
        # Time and memory.
        "rollback": "the store offers something older than, or other than, what this client has seen",
        "withheld": "a record names a policy newer than the one the store offers",
        "expired": "a document is past its expiry",
        "heads-expired": "nobody attested lately that the store offers the newest state of this environment",
        "memory-damaged": "this client's memory of the vault cannot be read",
        "not-trusted": "this location is not trusted on this machine",
        "unsafe-store": "the store does not keep a promise that a vault rests on",
        "log-inconsistent": "a log does not extend what was seen of it",
        "not-logged": "there is no proof that this was logged, or the proof does not hold",
        "not-witnessed": "too few independent witnesses have cosigned the log",
        # Not refusals.
        "not-found": "there is no such thing",
        "removed": "the version was removed, as the rules of retention or a person decided",
        "no-such-vault": "there is no vault at this location",
        "no-usable-key": "no identity is available, or the passphrase is wrong",
        "unavailable": "the store or a key service did not answer",
        "storage-full": "the store has no room left",
        "storage-denied": "the store's own access control refused",
        "storage-archived": "the store keeps this object in an archive, from which it must be restored first",
        "archived": "the version's files were moved to an archive, from which they must be fetched first",
        "conflict": "somebody else was first",
        "feature-mismatch": "the features given are not the features that the model was trained on",
        "missing-library": "a library that this format needs is not installed",
        "load-test-impossible": "a load test cannot be made: what it needs is not recorded, or not there",
    }
)


class VaultError(Exception):
    """Say what happened, to what, and what to do next.

    Attributes: `code` (kebab-case, one of `CODES`), `message`, `subject` (the
    reference, name or path concerned) and `hint` (one next step, may be empty).
    """

    exit_status: ClassVar[int] = 1
    default_code: ClassVar[str] = "unavailable"
    recorded: bool = False  # an audit record tells of it

    def __init__(self, message: str, *, code: str = "", subject: str = "", hint: str = "") -> None:
        """Build the error; `code` defaults to that of its class."""
        self.code = code or self.default_code
        if self.code not in CODES:
            raise LookupError(f"{self.code!r} is not a code of vault.errors")
        self.message = message
        self.subject = subject
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[object, ...]:
        """Let an error cross a process boundary with all its parts."""
        return _rebuild, (type(self), self.message, self.code, self.subject, self.hint)


def _rebuild(kind: type[VaultError], message: str, code: str, subject: str, hint: str) -> VaultError:
    return kind(message, code=code, subject=subject, hint=hint)


class Refused(VaultError):
    """Something was checked and did not hold; nothing was loaded, resolved or written."""

    exit_status = 3
    default_code = "malformed-document"


class Malformed(Refused):
    """Bytes that cannot be what their place says they are."""


class Unsigned(Refused):
    """There is no signature where one is required."""

    default_code = "unsigned"


class BadSignature(Refused):
    """A signature does not fit the bytes that it covers."""

    default_code = "bad-signature"


class UntrustedSigner(Refused):
    """The signer is unknown, revoked, or may not sign this here."""

    default_code = "untrusted-signer"


class DigestMismatch(Refused):
    """What is stored is not what was signed."""

    default_code = "digest-mismatch"


class AccessDenied(Refused):
    """The policy does not allow this."""

    exit_status = 4
    default_code = "access-denied"


class FormatRefused(Refused):
    """The format, or something inside the file, may not be loaded here."""

    exit_status = 5
    default_code = "format-refused"


class PickleRefused(FormatRefused):
    """A pickle does something that the gate does not permit."""

    default_code = "pickle-refused"


class Rollback(Refused):
    """The store offers an older state than this client has seen, or another one."""

    default_code = "rollback"


class Expired(Refused):
    """A document is past its expiry."""

    default_code = "expired"


class LogInconsistent(Refused):
    """A log does not extend what was seen of it."""

    default_code = "log-inconsistent"


class NotFound(VaultError):
    """There is no such model, version, channel or file."""

    exit_status = 6
    default_code = "not-found"


class Unavailable(VaultError):
    """The store or a key service did not answer; worth trying again."""

    exit_status = 7
    default_code = "unavailable"


class NoUsableKey(VaultError):
    """The passphrase is wrong, or no identity at hand can do this."""

    exit_status = 8
    default_code = "no-usable-key"


class Conflict(VaultError):
    """Somebody else was first: look, then decide."""

    exit_status = 9
    default_code = "conflict"


class MissingLibrary(VaultError):
    """A library that this format needs is not installed."""

    exit_status = 1
    default_code = "missing-library"


class FeatureMismatch(VaultError, ValueError):
    """The features given are not, or not in the order of, those the model was trained on."""

    exit_status = 2
    default_code = "feature-mismatch"
