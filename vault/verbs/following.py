"""The verbs of `Vault` that hold to versions: lock files, and slots chosen by key for A/B tests."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import reference_of
from vault.core.names import Digest, Reference

if TYPE_CHECKING:
    from vault.actions.locking import Compared


class FollowingVerbs:
    """Lock channels to versions, and choose between slots; `Vault` inherits them."""

    _session: Session

    def lock(self, *channels: str) -> bytes:
        """Write a lock file: the exact versions that channels name now (`churn@prod`, `nepse/*@prod`).

        Keep it in git and give it to `load_model(…, lock=…)`; the same state gives the same bytes.

        Raises:
            ValueError: something is no channel.
            NotFound: nothing is in force in one.
            Refused, Unavailable.
        """
        from vault.actions import locking
        from vault.core import lockfile

        if not channels:
            raise ValueError("Say what to lock: churn@prod, or nepse/*@prod.")
        return lockfile.encode(self._session.pin, locking.lock(self._session, channels))

    def check_lock(self, lock: "str | os.PathLike[str] | bytes") -> "Sequence[Compared]":
        """Tell of each line of a lock file whether it can be loaded still, and whether its channel moved on.

        Raises:
            Refused: `lock-mismatch`: it is another vault's.
            Malformed, NotFound, Unavailable.
        """
        from vault.actions import locking

        return locking.compare(self._session, lock)

    def choose(
        self, reference: str | Reference, *, key: str | int | bytes, weights: Mapping[str, int | float]
    ) -> Reference:
        """Choose a slot of an environment for a key, such as a user's id: the same by the same weights.

        `weights` are by slot, as {"main": 90, "b": 10}; a change of one moves only the keys that it
        has to (docs/loading.md has the formula). Nothing is read: what comes back is to be loaded.

        Raises:
            ValueError: the reference names no environment, or a slot; or the weights or the key are none.
            TypeError: a weight is no number, or the key of another kind.
        """
        from vault.core import choosing

        wanted = reference_of(reference)
        if wanted.environment is None or wanted.slot is not None:
            raise ValueError(f"Name an environment without its slot, as {wanted.model}@prod.")
        slot = choosing.choose(
            Digest(self._session.pin),
            wanted.model,
            wanted.environment,
            choosing.key_bytes(key),
            choosing.weights_of(weights),
        )
        return Reference(wanted.model, environment=wanted.environment, slot=slot)
