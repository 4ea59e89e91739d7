"""What each step of an admission has established; the steps themselves are in `admission`."""

from dataclasses import dataclass

from vault.core import names
from vault.core.heads import Freshness
from vault.core.in_force import Context, Signed
from vault.core.manifest import Manifest, Metadata
from vault.core.memory_format import Memory
from vault.core.names import Digest, Model, Version
from vault.core.policy import EnvironmentRule, Member
from vault.core.records import ChannelRecord, SealingRecord


@dataclass(frozen=True, slots=True)
class Resolved:
    """Step 2 held: this is the policy in force for one environment.

    `remembered` is what this client knew *before* the store was read: what was
    found is compared with that, since another process may go ahead meanwhile.
    `freshness` is None where the environment asks for no heads.
    """

    context: Context
    rule: EnvironmentRule
    remembered: Memory
    root_expires: str | None = None
    freshness: Freshness | None = None


@dataclass(frozen=True, slots=True)
class Authorised:
    """Step 3 held: this principal may do this with this model in this environment."""

    resolved: Resolved
    member: Member
    action: str
    model: Model


@dataclass(frozen=True, slots=True)
class Target:
    """Step 4 held: which version, and the record that says so.

    Where no record does (`via` is None) the publishers must be allowed to
    publish in this very environment, unless `open` is false: then the step is
    not finished, and the manifest is only read to look for a record of it.
    """

    version: Version
    manifest: Digest | None
    via: Signed[ChannelRecord] | None
    open: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """Step 5 held: a manifest signed by every one of its publishers, each authorised."""

    authorised: Authorised
    target: Target
    manifest: Manifest
    digest: Digest
    publishers: tuple[names.Principal, ...]

    @property
    def subject(self) -> str:
        """The version as messages name it."""
        return f"{self.manifest.model}:{self.manifest.version}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """Steps 6 and 7 held: the ciphertext that belongs to the manifest is known, and small enough."""

    verified: Verified
    sealing: SealingRecord


@dataclass(frozen=True, slots=True)
class Opened:
    """Step 8 held for `metadata.json`: digests, commitments and pins of all files are known."""

    sealed: Sealed
    metadata: Metadata
