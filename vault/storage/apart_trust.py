"""Copy trust documents to an environment's own store, and the logs that retired keys rest on there.

The order is that of a new vault, so that a store which was not copied to its end is no vault yet, or an
older one: recipients, logs, policies by number, and roots last. Bytes are copied as they are, whoever signed
them; what cannot be a document is left out, so that garbage in the main store does not fill the others.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from vault.core import envelope, layout, limits, log_names, policy, policy_document, trust
from vault.core.log_names import ACCESS, LOGS
from vault.core.names import Environment
from vault.core.policy import Policy
from vault.errors import Malformed, NotFound, Refused
from vault.ports import Store
from vault.storage import apart_copies

RECIPIENTS: Final = "trust/recipients/"
FILES: Final = (layout.VAULT, layout.README)


def mend(main: Store, store: Store, apart: Collection[Environment]) -> tuple[str, ...]:
    """Copy the trust documents that `store` lacks; give the names of those that were missing.

    `apart` are the environments that the main store has nothing of.

    Raises:
        DigestMismatch: `store` has another root 1, so that it is another vault's; or other bytes under the
            name of a document that is copied meanwhile.
        Unavailable: a store failed.
    """
    first = layout.root(1)
    if first in _listed(store, layout.ROOTS) and not apart_copies.same(first, main, store):
        raise apart_copies.differs(first, main, store)
    return tuple(name for name in missing(main, store) if copy(name, main, store, apart))


def missing(main: Store, store: Store) -> Iterator[str]:
    """List the trust documents that `main` has and `store` has not, in the order in which they are copied.

    Raises:
        Unavailable: a store failed.
    """
    for folder in (RECIPIENTS, layout.POLICIES, "", layout.ROOTS):
        there = _listed(store, folder)
        for name in _listed(main, folder):
            if name not in there and _may_be(name, main):
                yield name


def _may_be(name: str, main: Store) -> bool:
    try:
        _parsed(name, main.read(name, limit=limits.ENVELOPE_BYTES))
    except (NotFound, Refused):  # deleted meanwhile, or a stranger's
        return False
    return True


def copy(name: str, main: Store, store: Store, apart: Collection[Environment]) -> bool:
    """Copy one trust document, before it what a policy needs in that store; tell whether it was missing.

    Raises:
        DigestMismatch: other bytes have that name in `store`.
        Unavailable: a store failed.
    """
    try:
        data = main.read(name, limit=limits.ENVELOPE_BYTES)
        needed = _logs(_parsed(name, data), main, apart)
    except Refused:
        return False
    for folder in needed:
        there = frozenset(store.list(folder))
        for commit in main.list(folder):
            if commit not in there:
                apart_copies.copy(commit, main, store)
    return apart_copies.copy(name, main, store)


def _parsed(name: str, data: bytes) -> Policy | None:
    """Look at what may be a trust document; give it if it is a policy, whoever signed that.

    Raises:
        Refused: it is none.
    """
    if name.startswith(RECIPIENTS) and name != RECIPIENTS + hashlib.sha256(data).hexdigest():
        raise Malformed(f"{name} is not named after its content.", code="malformed-key", subject=name)
    if name.startswith(layout.ROOTS):
        envelope.parse(data, kind=trust.KIND, subject=name)
    if name.startswith(layout.POLICIES):
        sealed = envelope.parse(data, kind=policy.KIND, subject=name)
        with suppress(Refused):  # one of a later release perhaps
            return policy_document.parse(sealed.payload, name)
    return None


def _logs(document: Policy | None, main: Store, apart: Collection[Environment]) -> list[str]:
    """Name the folders of commits that tell what holders of retired keys signed in time."""
    if document is None:
        return []
    retired = [
        name for name, member in document.members.items() if any(key.until is not None for key in member.keys)
    ]
    if not retired:
        return []
    logs = [log_names.TRUST_LOG, *map(log_names.environment_log, document.environments)]
    return [
        *(log.commits for log in logs if log.environment not in apart),
        *(
            f"{LOGS}{ACCESS}/{name}/{instance}commit/"
            for name in retired
            for instance in main.list_folders(f"{LOGS}{ACCESS}/{name}/")
            if instance.endswith("/")
        ),
    ]


def _listed(store: Store, folder: str) -> list[str]:
    """List the trust documents in a folder, those with numbers ascending."""
    found = (name for name in islice(store.list_folders(folder), limits.LISTED_NAMES) if "/" not in name)
    return sorted((folder + name for name in found if folder or name in FILES), key=lambda it: (len(it), it))
