"""Policies, keys and commits of logs, made by hand for any test: no file, no clock, no randomness."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from vault.audit.reading import LogReader, LogState
from vault.audit.writing import LogWriter
from vault.core import ed25519, log_commit, log_keys, log_names, merkle, note
from vault.core.log_chain import Chain, Extended, Skipped
from vault.core.log_keys import Certificate, LogKey
from vault.core.log_names import Log
from vault.core.merkle import Edge
from vault.core.names import Digest, Environment, Principal
from vault.core.note import Checkpoint
from vault.core.policy import PERSON, SERVICE, Key, LogHead, Member, Policy, Rule
from vault.ports import Store

VAULT: Final = Digest("ab" * 32)
CREATED: Final = "2026-11-23T05:00:00Z"
NOW: Final = 1_795_410_000
PROD: Final = Environment("prod")
DEV: Final = Environment("dev")
PROD_LOG: Final = log_names.environment_log(PROD)
TRUST_LOG: Final = log_names.TRUST_LOG
ACCESS_LOG: Final = log_names.access_log(Principal("scorer"), "0123456789abcdef")

# ann and bob write, wes and the service ci-witness (whose owner is ann) witness, eve may do neither.
ROLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[Environment, ...]]]] = {
    "writer": (("log",), ()),
    "dev-writer": (("log",), (DEV,)),
    "witness": (("witness",), ()),
}
MEMBERS: Final[Mapping[str, str]] = {
    "ann": "writer",
    "bob": "writer",
    "dan": "dev-writer",
    "wes": "witness",
    "wim": "witness",
    "eve": "",
    "scorer": "",
    "ci-witness": "witness",
}


@dataclass(frozen=True)
class Signing:
    """An identity's signing key, as `core.ed25519.Signer` wants it."""

    key: LogKey

    @property
    def public(self) -> bytes:
        return self.key.public

    @property
    def key_id(self) -> Digest:
        return Digest(ed25519.key_id(self.key.public))

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


@cache
def seed(name: str) -> bytes:
    return hashlib.sha256(f"seed of {name}".encode()).digest()


@cache
def identity(name: str) -> Signing:
    return Signing(log_keys.from_seed(seed(name)))


@cache
def log_key(name: str, log: Log = PROD_LOG, use: str = log_keys.LOG) -> LogKey:
    return log_keys.derive(seed(name), use, log_names.origin(VAULT, log))


@cache
def certificate(name: str, log: Log = PROD_LOG, use: str = log_keys.LOG) -> bytes:
    document = Certificate(VAULT, log_names.origin(VAULT, log), use, log_key(name, log, use).public, CREATED)
    return log_keys.certify(document, identity(name))


def policy(
    *,
    without: Iterable[str] = (),
    revoked: Iterable[str] = (),
    retired: Mapping[str, LogHead] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Policy:
    """Make the policy; `without` are not in it, `roles` are other ones."""
    members = {}
    for name, role in {**MEMBERS, **(roles or {})}.items():
        if name in set(without):
            continue
        key = identity(name)
        until = (retired or {}).get(name)
        owned = name in {"scorer", "ci-witness"}
        members[Principal(name)] = Member(
            name=Principal(name),
            kind=SERVICE if owned else PERSON,
            owners=(Principal("ann"),) if owned else (),
            roles=(Principal(role),) if role else (),
            models=None,
            keys=(Key(key.public, key.key_id, name in set(revoked), until),),
            recipients=(),
        )
    rules = {
        Principal(role): (Rule(actions, environments, None, None, None, own=False),)
        for role, (actions, environments) in ROLES.items()
    }
    return Policy(
        vault=VAULT, root_version=1, root_digest=Digest("cd" * 32), era=0, version=1, prev=None,
        created=CREATED, expires=None, members=members, roles=rules, environments={}, recovery=(),
    )  # fmt: skip


def entries(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def tree(leaves: Sequence[bytes]) -> Edge:
    return merkle.grow(merkle.EMPTY, merkle.leaf_hashes(leaves)).after


def commit(parent: Edge, added: Sequence[bytes], who: str = "ann", log: Log = PROD_LOG) -> bytes:
    """Write the commit that appends `added` to a tree."""
    after = merkle.grow(parent, merkle.leaf_hashes(added)).after
    signed = checkpoint(after, who, log)
    return log_commit.encode(certificate(who, log), signed, after, added)


def checkpoint(edge: Edge, who: str = "ann", log: Log = PROD_LOG) -> note.Note:
    found = Checkpoint(log_names.origin(VAULT, log), edge.size, edge.root)
    return note.sign_checkpoint(found, log_key(who, log))


def cosigned(signed: note.Note, who: str, log: Log = PROD_LOG, time: int = NOW) -> note.Note:
    """Add a witness's line and certificate."""
    name = log_names.witness_name(VAULT, Principal(who))
    line = note.cosign(signed.text, name, time, log_key(who, log, log_keys.WITNESS))
    document = log_keys.certificate_line(name, certificate(who, log, log_keys.WITNESS))
    return signed.added([line, document])


def certified(signed: note.Note, who: str = "ann", log: Log = PROD_LOG) -> note.Note:
    """Add the writer's certificate."""
    name = log_names.origin(VAULT, log)
    return signed.added([log_keys.certificate_line(name, certificate(who, log))])


@dataclass
class Story:
    """Offers commits to a chain, number by number, and keeps what came of each."""

    chain: Chain = field(default_factory=lambda: Chain(policy(), PROD_LOG))
    number: int = 0
    told: list[Extended | Skipped] = field(default_factory=list)

    def add(
        self, *texts: str, who: str = "ann", to: Edge | None = None, number: int = 0
    ) -> Extended | Skipped:
        """Offer a commit of these entries on the chain's last, or on `to`."""
        parent = self.chain.last.edge if to is None else to
        return self.offer(commit(parent, entries(*texts), who, self.chain.log), number)

    def offer(self, data: bytes, number: int = 0) -> Extended | Skipped:
        self.number = number or self.number + 1
        self.told.append(self.chain.offer(self.number, data))
        return self.told[-1]

    @property
    def edge(self) -> Edge:
        return self.chain.last.edge


def under(changed: Policy, **options: object) -> Story:
    """Begin a story under another policy."""
    return Story(replace(Chain(policy(), PROD_LOG), policy=changed, **options))  # type: ignore[arg-type]


# --- logs in a store ---


def writer(store: Store, who: str = "ann", log: Log = PROD_LOG, current: Policy | None = None) -> LogWriter:
    return LogWriter(store, log, current or policy(), log_key(who, log), certificate(who, log))


def reader(store: Store, log: Log = PROD_LOG, current: Policy | None = None) -> LogReader:
    return LogReader(store, log, current or policy())


def everything(store: Store, log: Log = PROD_LOG, current: Policy | None = None) -> list[bytes]:
    """Read every entry in force."""
    found: list[bytes] = []
    reader(store, log, current).read(lambda commit: found.extend(commit.entries))
    return found


def state(store: Store, log: Log = PROD_LOG, current: Policy | None = None) -> LogState:
    return reader(store, log, current).read()


def squat(store: Store, name: str, data: bytes = b"garbage") -> None:
    """Put something under a name, as anybody may who can write to the store."""
    with store.create(name) as sink:
        sink.write(data)


def numbered(first: int, count: int) -> list[bytes]:
    """Make entries that differ."""
    return [b'{"n":%d}' % number for number in range(first, first + count)]
