"""See how a signature beside files is refused."""

from collections.abc import Callable

import pytest

from vault.errors import Refused


def refusal(kind: type[Refused], code: str, reason: str, work: Callable[[], object]) -> Refused:
    """See that something is refused by exactly this class and code, for this reason."""
    with pytest.raises(kind, match=reason) as found:
        work()
    assert (type(found.value), found.value.code) == (kind, code)
    return found.value
