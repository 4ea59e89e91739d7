"""The verbs of `Vault` about channels: who lets versions in, who keeps them out, and who follows them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import given, reference_of, version_of
from vault.core import names
from vault.core.names import Reference

if TYPE_CHECKING:
    from vault.actions.adopting import Adopted
    from vault.actions.approving import Approved
    from vault.actions.pending import Wait
    from vault.actions.promote import Promotion
    from vault.actions.watching import Watch
    from vault.actions.withdrawing import Withdrawal


class ChannelVerbs:
    """Approvals, withdrawals, what waits, and watching; `Vault` inherits them."""

    _session: Session

    def approve(self, reference: str | Reference, *, env: str) -> "Approved":
        """Sign that a version may enter an environment; the same approval again changes nothing.

        Raises:
            AccessDenied: this identity may not approve there, or its approval would not count.
            Refused: the version does not verify, or not by what the environment requires.
            NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import approving

        return approving.approve(self._session, reference_of(reference), given(names.environment, env))

    def withdraw(
        self,
        reference: str | Reference,
        *,
        env: str,
        slot: str | None = None,
        replacement: str | int | None = None,
        again: bool = False,
    ) -> "Withdrawal":
        """Keep a version out of an environment, in every slot; `replacement` is promoted in its place.

        With `slot` the replacement takes its place in that slot only. With `again` this identity
        signs a withdrawal that somebody else, who is to leave, has signed before.

        Raises:
            AccessDenied, Refused: not by this identity, or not this replacement.
            Conflict: somebody else changed a channel meanwhile.
            ValueError: no slot uses the version, so that nothing can take its place.
            NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import withdrawing

        return withdrawing.withdraw(
            self._session,
            reference_of(reference),
            given(names.environment, env),
            None if slot is None else given(names.slot, slot),
            version_of(replacement),
            again=again,
        )

    def rollback(
        self, name: str, *, env: str, slot: str = names.MAIN, to: str | int | None = None
    ) -> "Promotion":
        """Promote again what a channel named before, or the version `to` if it named that once.

        Raises:
            NotFound: there is no earlier version that may still be used there.
            AccessDenied, Refused, Conflict, Unavailable, NoUsableKey: as `promote`.
        """
        from vault.actions import promote

        return promote.rollback(
            self._session,
            given(names.model, name),
            given(names.environment, env),
            given(names.slot, slot),
            version_of(to),
        )

    def adopt_version(self, reference: str | Reference) -> "Adopted":
        """Stand in for a version's publisher whose key was revoked or who left, after reading every file.

        Raises:
            AccessDenied: this identity may not adopt the model.
            Refused, NotFound, Unavailable, NoUsableKey, ValueError.
        """
        from vault.actions import adopting

        return adopting.adopt(self._session, reference_of(reference))

    def pending(self, *, mine: bool = False) -> "Sequence[Wait]":
        """List what waits to enter an environment, and for whom; `mine` narrows to this identity.

        Raises:
            NotFound, Refused, Unavailable; NoUsableKey with `mine`.
        """
        from vault.actions import pending

        return pending.pending(self._session, mine=mine)

    def watch(
        self,
        reference: str | Reference,
        *,
        on_change: Callable[[Any], object],
        every: float = 30.0,
        package: bool = False,
        holding: str | None = None,
        on_error: Callable[[Exception], object] | None = None,
        on_warning: Callable[[str], object] | None = None,
        **options: Any,
    ) -> "Watch":
        """Load a model and follow its channel: `on_change` gets each model that was loaded and verified.

        The first one is loaded and handed over before this returns, unless its
        digest is `holding` (`LoadedPackage.digest`). From then on a thread looks
        about `every` so many seconds; only when the manifest's digest differs is
        anything decrypted. What fails is told to `on_error`, or logged
        (`vault.watch`), and the model in use stays; also when it was withdrawn,
        which is the service's to decide on. `on_warning` is told what expires. With
        `package`, packages are handed over. `options` are those of `load_model`.

        Call what is returned to stop; `.reference`, `.error` and `.checked` tell how it stands.

        Raises:
            ValueError: `every` or `holding` has no such value.
            Refused, NotFound, Unavailable, NoUsableKey, MissingLibrary: the first load failed.
        """
        from vault.actions import watching

        if "lock" in options:
            raise TypeError("A watch follows its channel: it takes no lock=.")

        return watching.Watch(
            self._session,
            reference_of(reference),
            on_change,
            every=every,
            package=package,
            holding=None if holding is None else given(names.digest, _bare(holding)),
            on_error=on_error,
            on_warning=on_warning,
            options=options,
        )


def _bare(digest: str) -> str:
    return digest.removeprefix(names.DIGEST_PREFIX)
