"""Static stage: what a file mentions, found without running any code of its format (docs/format.md).

The dispatch from a format to its walker, the comparison with what was pinned
at publishing, and the operator's own allowance.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.core import limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the operator of this machine permits, whatever a package or policy says.

    `formats` None stands for every format that cannot run code.
    """

    formats: frozenset[str] | None = None
    skops_types: frozenset[str] = frozenset()
    pickle_globals: frozenset[str] = frozenset()
    onnx_domains: frozenset[str] = frozenset()
    max_bytes: int = limits.LOAD_BYTES


def check_libraries(format: str, saved: Mapping[str, str], here: Mapping[str, str], *, strict: bool, subject: str) -> None: ...
def check(path: str, format: str, data: memoryview, pins: frozenset[str], allowance: Allowance, subject: str) -> None: ...
