"""Tell which objects a cache may keep: those that never change once they are in force (docs/format.md).

Logs, their tiles and proofs, hints and listings are none of them: what is
derived may be written anew, and a listing is what tells of something new.
"""

import hashlib
import re
from typing import Final

_NUMBERED: Final = re.compile(
    r"((?:trust/(?:root|policy|heads/[^/@]+)|channels/[^@]+/@|models/[^@]+/@/[^/@]+/sealed)/)([0-9]{6,16})\.json\Z",
    re.ASCII,
)
# Named after their own content: a recipient by all of its SHA-256, the others by 128 bits of it or more.
_BY_CONTENT: Final = re.compile(
    r"(?:trust/recipients/([0-9a-f]{64})"
    r"|keys/[^@]+/(?:@/)?[0-9a-f]{16}-([0-9a-f]{32})\.(?:age|json)"
    r"|models/[^@]+/@/[^/@]+/(?:keys/[^/@]+/[0-9a-f]{32}-([0-9a-f]{32})"
    r"|(?:approvals/[^/@]+|adoptions|attestations)/([0-9a-f]{64})\.json))\Z",
    re.ASCII,
)
_VERSIONED: Final = re.compile(
    r"models/[^@]+/@/[^/@]+/(?:manifest\.json|files/[0-9a-f]{32}(?:\.units)?)\Z", re.ASCII
)


def series(name: str) -> tuple[str, int] | None:
    """Give the folder and the number of a numbered record; None for every other object."""
    found = _NUMBERED.match(name)
    return None if found is None else (found[1], int(found[2]))


def is_named_after_content(name: str) -> bool:
    """Tell whether an object has the name of one that is named after its own content."""
    return _BY_CONTENT.match(name) is not None


def fits_content(name: str, data: bytes) -> bool:
    """Tell whether an object that is named after its content has that content."""
    found = _BY_CONTENT.match(name)
    told = "" if found is None else next(part for part in found.groups() if part)
    return bool(told) and hashlib.sha256(data).hexdigest().startswith(told)


def may_be_kept(name: str) -> bool:
    """Tell whether an object may be kept at all, once it has been verified."""
    return bool(_NUMBERED.match(name) or _BY_CONTENT.match(name) or _VERSIONED.match(name))
