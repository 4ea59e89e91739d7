"""The verb of `Vault` about tests: does a version load, and predict what was recorded, on a clean machine?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import requirements
from vault.core.names import Reference

if TYPE_CHECKING:
    from vault.actions.load_testing import LoadTest


class TestingVerbs:
    """Load tests; `Vault` inherits them."""

    __test__ = False  # pytest collects what is called so
    _session: Session

    def load_test(
        self, reference: str | Reference, *, against: str | None = None, **options: Any
    ) -> "LoadTest":
        """Load a version in a fresh environment, predict the recorded rows, compare, sign what came of it.

        The environment is made of the recorded requirements, pinned by hash, and has no key: this
        process verifies and decrypts, a confined one restores. `against` tests other versions in
        their place, `"python=3.13,scikit-learn==1.9"`, or what is installed `"here"`.

        Options: `wheels`, a folder that is used in place of an index; `requirements`, a lock file,
        where the version has none; `rtol` and `atol`, how far a number may be from what was
        recorded (labels are exact); `record`, whether to sign: True, False, or only what is tested
        as it was recorded; `repin`, to look for archives anew; `installer`, `auto`, `uv` or `pip`;
        `memory` (bytes) and `seconds` for the process, `install_seconds` for each step before it;
        `unsafe_no_sandbox`, to go on where the kernel cannot confine.

        Raises:
            AccessDenied: this identity may not load it there, or may not `test` it.
            Refused: the version does not verify; an archive is another than was pinned; `no-sandbox`.
            Unavailable, NotFound: `load-test-impossible`: what the test needs is not to be had.
            NoUsableKey, MissingLibrary, ValueError.
        """
        return self.load_tests(reference, [against], **options)[0]

    def load_tests(
        self, reference: str | Reference, against: Sequence[str | None], **options: Any
    ) -> "list[LoadTest]":
        """Test a version several times: as it was recorded (None), or against other versions.

        What cannot be tested against other versions, since they are not to be had, is told in
        `.detail`, with `.passed` None.

        Raises:
            As `load_test`.
        """
        from vault.actions import load_testing

        asked = [None if text is None else given(requirements.parse_against, text) for text in against]
        return load_testing.test(
            self._session, reference_of(reference), asked, load_testing.options_of(**options)
        )
