"""Follow a channel: notice that it names another version, load and verify that, and only then hand it over.

A look costs the few small reads of the admission's steps 2 to 6; nothing is decrypted before the digest of
the manifest differs from the one that is in use. Whatever fails leaves the model that is in use alone.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from vault.actions import fetching, loading, resolving
from vault.actions.session import Session
from vault.core import admission, expiry, names
from vault.core.names import Digest, Reference
from vault.core.stages import Verified
from vault.errors import Rollback, VaultError

LONGEST: Final = 86_400.0  # seconds between two looks
_SPREAD: Final = 0.25  # a thousand loaders that were started together do not ask together
_LAST_DOUBLING: Final = 6  # of the wait before a version that could not be loaded is tried again

_log = logging.getLogger("vault.watch")

OnChange = Callable[[Any], object]
OnError = Callable[[Exception], object]
OnWarning = Callable[[str], object]


class Watch:
    """A channel that is being followed; call it to stop. Made by `Vault.watch`.

    What it knows may be read from any thread, such as by a health check.
    """

    def __init__(
        self,
        session: Session,
        reference: Reference,
        on_change: OnChange,
        *,
        every: float,
        package: bool,
        holding: Digest | None,
        on_error: OnError | None,
        on_warning: OnWarning | None,
        options: Mapping[str, Any],
    ) -> None:
        """Load what the channel names now, unless it is `holding`, and follow it from then on.

        Raises:
            ValueError: `every` is not a time between two looks.
            Refused, NotFound, Unavailable, NoUsableKey, MissingLibrary: as a load.
            Exception: what `on_change` raises on the first model.
        """
        if not 0 < every <= LONGEST:
            raise ValueError(f"every is a number of seconds, more than 0 and at most {LONGEST:,.0f}.")
        self._session, self._reference, self._options = session, reference, dict(options)
        self._on_change, self._on_error, self._on_warning = on_change, on_error, on_warning
        self._every, self._package = every, package
        self._held, self._version = holding, ""
        self._error: Exception | None = None
        self._checked: int | None = None
        self._told: frozenset[str] = frozenset()
        self._failed: tuple[Digest, int, float] | None = None  # what, how often, and not again before
        self._stopped = threading.Event()
        if holding is None:
            self._take()
        else:
            self._look()
        self._thread = threading.Thread(target=self._follow, name=f"vault-watch {reference}", daemon=True)
        self._thread.start()

    @property
    def reference(self) -> str:
        """The version in use, as `name:version`."""
        return self._version

    @property
    def digest(self) -> str:
        """The digest of its manifest, as `sha256:…`."""
        return "" if self._held is None else f"{names.DIGEST_PREFIX}{self._held}"

    @property
    def error(self) -> Exception | None:
        """What the last look failed with; None when it went well, and the version in use is the channel's."""
        return self._error

    @property
    def checked(self) -> int | None:
        """When the channel was last seen to name the version in use, in seconds since 1970."""
        return self._checked

    @property
    def running(self) -> bool:
        """Whether the channel is still being followed."""
        return self._thread.is_alive() and not self._stopped.is_set()

    def __call__(self, timeout: float | None = 5.0) -> bool:
        """Stop following; tell whether that has ended, so that no callback is running or will be.

        Only a load or callback in progress is waited for, up to `timeout` seconds. It
        never waits for itself, so `on_change` may stop what called it.
        """
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- one look ---

    def _follow(self) -> None:
        wait = self._every * random.random()  # noqa: S311 - when to look, nothing secret
        while not self._stopped.wait(wait):
            self._poll()
            wait = self._every * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311

    def _poll(self) -> None:
        """Look once; whatever is raised, also by the callbacks, is told and ends nothing."""
        try:
            found = self._look()
            if found.digest != self._held and self._may_try(found.digest):
                self._attempt(found.digest)
        except Exception as error:  # this thread is all that keeps the service current
            self._fail(error)

    def _look(self) -> Verified:
        """Find and verify what the channel names; nothing is decrypted.

        Raises:
            Refused, NotFound, Unavailable.
        """
        try:
            found = self._find()
        except Rollback as refusal:
            if refusal.code != "withheld":
                raise
            found = self._find()  # a policy was signed, and used, between our two reads
        resolved, now = found.authorised.resolved, self._session.clock()
        self._warn(
            (
                *expiry.documents(resolved.root_expires, resolved.context.policy.expires, now),
                *expiry.heads(resolved.rule.name, resolved.freshness, now),
            )
        )
        if found.digest == self._held:
            self._version = found.subject
            self._succeed()
        return found

    def _find(self) -> Verified:
        session, reference = self._session, self._reference
        environment = resolving.environment_of(session, reference)
        key_id = Digest(session.identity.key_id)

        def find() -> Verified:
            authorised = admission.authorise(session.resolve(environment), key_id, "load", reference.model)
            return resolving.find_authorised(session, authorised, reference).verified

        with fetching.looking(session, reference, environment, "watch") as look:
            return look.attempt(find)

    def _may_try(self, digest: Digest) -> bool:
        """Tell whether it is time to load a version, which may have failed before."""
        return self._failed is None or self._failed[0] != digest or time.monotonic() >= self._failed[2]

    def _attempt(self, digest: Digest) -> None:
        try:
            self._take()
        except BaseException:
            times = self._failed[1] + 1 if self._failed is not None and self._failed[0] == digest else 0
            wait = self._every * 2 ** min(times, _LAST_DOUBLING)
            self._failed = digest, times, time.monotonic() + wait
            raise
        self._failed = None

    def _take(self) -> None:
        """Load what the channel names, every check done, and hand it over.

        Raises:
            Refused, NotFound, Unavailable, MissingLibrary; and what `on_change` raises.
        """
        package = loading.load_package(self._session, self._reference, self._options)
        model = package if self._package else package.model
        if self._stopped.is_set():
            return
        self._on_change(model)
        self._held = Digest(package.digest.removeprefix(names.DIGEST_PREFIX))
        self._version = package.reference
        self._succeed()
        for sentence in package.warnings:
            if sentence not in self._told:
                self._say(sentence)
        self._told |= frozenset(package.warnings)

    # --- telling ---

    def _succeed(self) -> None:
        if self._error is not None:
            _log.info("%s: all is well again, with %s", self._reference, self._version)
        self._error, self._checked = None, self._session.clock()

    def _fail(self, error: Exception) -> None:
        new = self._error is None or str(self._error) != str(error)
        self._error = error
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception:
                _log.exception("%s: on_error failed", self._reference)
        elif new:
            code = f" [{error.code}]" if isinstance(error, VaultError) else ""
            _log.warning(
                "%s%s: %s Still using %s.", self._reference, code, error, self._version or "what was loaded"
            )

    def _warn(self, due: tuple[expiry.Notice, ...]) -> None:
        """Tell each notice once, and again after it had gone."""
        sentences = {f"{notice.message} {notice.hint}" for notice in due}
        for sentence in sorted(sentences - self._told):
            self._say(sentence)
        self._told = frozenset(sentences)

    def _say(self, sentence: str) -> None:
        if self._on_warning is None:
            _log.warning("%s: %s", self._reference, sentence)
            return
        try:
            self._on_warning(sentence)
        except Exception:
            _log.exception("%s: on_warning failed", self._reference)
