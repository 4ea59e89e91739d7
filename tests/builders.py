"""Build vaults and documents in memory, for any test: no file, no clock, no real randomness.

    built = solo()                                     # one owner, X25519 keys, dev and prod
    ref = built.publish({"model.json": b'{"w":1}'})    # churn:1
    built.promote(ref)                                 # churn@prod
    built.read("churn@prod")                           # {"model.json": b'{"w":1}'}, every check done
    built.store.objects[...]                           # the stored bytes, to be tampered with

    built = team()                                     # prod asks for two approvals; see TEAM
    built.approve(ref, "ann"); built.approve(ref, "bob"); built.promote(ref, who="rex")

`built.fork()` gives a copy that a test may damage; its clients remember what they have seen so far,
and `forgetful=True` gives clients that remember nothing. `built.amend(change)` signs and writes the next
policy, `built.add(...)` lets a new principal join, `built.record(...)` and `built.write(...)` make and
store documents by hand.
"""

import hashlib
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from vault import memory, policyfile
from vault.actions import init as founding
from vault.actions import keyring, promote, publish, resolving
from vault.actions.promote import Promotion
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, envelope, formats, layout, limits, names, policy_document, records
from vault.core import manifest as manifests
from vault.core import policy as policies
from vault.core.allowance import Allowance
from vault.core.in_force import Channel, Context
from vault.core.manifest import METADATA
from vault.core.names import Digest, Environment, Model, Principal, Reference, Version
from vault.core.policy import Key, Member, Policy, PolicyId
from vault.core.policy import Recipient as RecipientId
from vault.core.records import Approval, ChannelRecord
from vault.core.stages import Verified
from vault.core.trust import TrustedRoot
from vault.keys import identity_file, recipients
from vault.keys.identity_file import Identity
from vault.keys.recipients import Kind
from vault.ports import Store
from vault.storage.memory import MemoryStore

NOW: Final = 1_795_410_000  # 2026-11-23T05:00:00Z
DEV: Final = Environment("dev")
PROD: Final = Environment("prod")
MAIN: Final = names.MAIN
CHURN: Final = Model("churn")
CONTENT: Final = {"model.json": b'{"weights":[1,2,3]}', "features.json": b'["age","income"]'}

# Two data scientists publish; two of ann, bob and cat, but no publisher, approve; rex promotes.
TEAM: Final = """
roles:
  owner:
    allow:
      - {actions: [load], env: [dev, staging, prod]}
      - {actions: [withdraw, rotate], env: [dev, prod]}
  data-scientist: {allow: [{actions: [publish, load], env: [dev]}, {actions: [load], env: [staging]}]}
  release-manager:
    allow:
      - {actions: [load], env: [staging, prod]}
      - {actions: [approve, withdraw], env: [prod]}
  releaser:
    allow:
      - {actions: [load], env: [dev, staging]}
      - {actions: [promote], from: dev, to: staging}
      - {actions: [promote], from: dev, to: prod}
      - {actions: [promote], from: staging, to: prod}
  loader: {allow: [{actions: [load], env: [prod], models: own}]}
environments:
  dev: {formats: [skops, onnx, json, npz, text, data]}
  staging: {formats: [skops, onnx, json, npz]}
  prod:
    formats: [skops, onnx, json]
    require: {approvals: {role: release-manager, threshold: 2, distinct_from: [publisher]}}
principals:
  owner: {kind: person, roles: [owner, data-scientist]}
"""


@dataclass(slots=True)
class Draws:
    """Bytes that look random and are the same in every run: SHA-256 of a seed and a counter."""

    seed: str
    count: int = 0

    def __call__(self, size: int) -> bytes:
        """Give the next `size` bytes, at most 64."""
        self.count += 1
        return hashlib.sha512(f"{self.seed}/{self.count}".encode()).digest()[:size]


def new_identity(name: str, kind: Kind = "x25519", seed: str = "") -> Identity:
    """Make an identity; the same name and seed give the same keys."""
    draw = Draws(f"identity {name} {seed}")
    age = recipients.generate_identity(kind, draw)
    return identity_file.new(
        name, random=draw, now=NOW, age_identity=age.encode(), age_recipient=age.recipient().encode()
    )


def age_key(identity: Identity) -> str:
    """Give the public age key of an identity, which those of tests have."""
    assert identity.recipient is not None
    return identity.recipient


def secret_age_key(identity: Identity) -> str:
    """Give the private age key of an identity."""
    assert identity.age_identity is not None
    return identity.age_identity


def reference(given: str | Reference) -> Reference:
    """Take a reference as text or as a value."""
    return names.reference(given) if isinstance(given, str) else given


@dataclass(slots=True)
class Built:
    """A vault in memory and everybody who uses it."""

    store: MemoryStore
    vault: Digest
    kind: Kind
    identities: dict[str, Identity]
    recovery: str  # AGE-SECRET-KEY-…, which opens everything
    draws: Draws
    now: int = NOW
    forgetful: bool = False
    memories: dict[str, memory.ClientMemory] = field(default_factory=dict)

    @property
    def owner(self) -> Identity:
        """The person whose key signs roots and policies."""
        return self.identities["owner"]

    def fork(self, *, forgetful: bool = False) -> "Built":
        """Copy the vault; what is done to the copy leaves this one alone, client memories included."""
        other = copy(self)
        other.store = MemoryStore(dict(self.store.objects))
        other.identities = dict(self.identities)
        other.draws = replace(self.draws)
        other.forgetful = forgetful
        other.memories = {}
        if not forgetful:
            for who, known in self.memories.items():
                other.memories[who] = memory.ClientMemory(self.vault, None, floor=known.load())
        return other

    # --- clients ---

    def memory(self, who: str = "owner") -> memory.ClientMemory:
        """Give what one client remembers; a new client remembers nothing."""
        if self.forgetful or who not in self.memories:
            self.memories[who] = memory.ClientMemory(self.vault, None)
        return self.memories[who]

    def session(
        self,
        who: str | None = "owner",
        *,
        env: str = "dev",
        store: Store | None = None,
        allowance: Allowance | None = None,
    ) -> Session:
        """Open the vault as a client; `who` None has no identity. Each session reads the trust documents."""
        held = None if who is None else self.identities[who]
        return Session(
            store=store or self.store,
            pin=self.vault,
            memory=self.memory(who or "nobody"),
            unlock=None if held is None else lambda: held,
            environment=names.environment(env),
            allowance=allowance or Allowance(),
            clock=lambda: self.now,
            random=self.draws,
        )

    # --- the everyday verbs ---

    def publish(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        model: str = "churn",
        version: str | None = None,
        who: str = "owner",
        env: str = "dev",
        public: bool = False,
        pins: Mapping[str, tuple[str, ...]] | None = None,
        session: Session | None = None,
    ) -> Reference:
        """Publish files; `model.…` has the role `model`, and what is in `artifacts/` is an artifact."""
        package = [
            package_file(path, data, (pins or {}).get(path, ()))
            for path, data in sorted((CONTENT if files is None else files).items())
        ]
        return publish.publish(
            session or self.session(who, env=env),
            names.model(model),
            None if version is None else names.version(version),
            Contents(package, {"notes": "built by a test"}, {}, public),
        )

    def promote(
        self,
        ref: str | Reference,
        *,
        env: str = "prod",
        slot: str = "main",
        who: str = "owner",
        session: Session | None = None,
    ) -> Promotion:
        """Promote a version; `env` is where to."""
        return promote.promote(
            session or self.session(who), reference(ref), names.environment(env), names.slot(slot)
        )

    def find(
        self,
        ref: str | Reference,
        *,
        who: str = "owner",
        env: str = "dev",
        action: str = "load",
        session: Session | None = None,
    ) -> Verified:
        """Do admission steps 1 to 6 for a reference."""
        return resolving.find(session or self.session(who, env=env), reference(ref), action).verified

    def open(
        self,
        ref: str | Reference,
        *,
        who: str = "owner",
        env: str = "dev",
        action: str = "load",
        session: Session | None = None,
    ) -> Package:
        """Do admission steps 1 to 8 up to the metadata."""
        used = session or self.session(who, env=env)
        return Package(used, self.find(ref, action=action, session=used))

    def read(
        self, ref: str | Reference, *, who: str = "owner", env: str = "dev", session: Session | None = None
    ) -> dict[str, bytes]:
        """Verify, decrypt and compare every file, as a load does before it deserializes: path → bytes."""
        package = self.open(ref, who=who, env=env, session=session)
        found = {}
        for entry in package.opened.sealed.verified.manifest.files:
            if entry.path != METADATA:
                data, sha256 = package.read(entry)
                admission.check_plaintext(package.opened, entry, len(data), sha256)
                found[str(entry.path)] = bytes(data)
        return found

    # --- trust documents ---

    @property
    def trusted(self) -> TrustedRoot:
        """The root in force, as a client without memory sees it."""
        return self._fresh().trust().root

    @property
    def policy(self) -> Policy:
        """The policy in force, as a client without memory sees it."""
        return self._fresh().trust().policy

    @property
    def policy_id(self) -> PolicyId:
        """Era, version and digest of that policy."""
        return self._fresh().trust().policy_id

    @property
    def context(self) -> Context:
        """What records are judged against."""
        return self._fresh().trust().context

    def _fresh(self) -> Session:
        session = self.session(None)
        session.memory = memory.ClientMemory(self.vault, None)
        return session

    def amend(self, change: Callable[[Policy], Policy]) -> Policy:
        """Sign and write the next policy: `change` of the one in force, under the next version."""
        before, made_by = self.policy, self.policy_id
        after = replace(change(before), version=before.version + 1, prev=made_by.digest)
        self.write(
            layout.policy(after.version), self.sign(policies.KIND, policy_document.encode(after), "owner")
        )
        return after

    def add(
        self,
        name: str,
        *roles: str,
        kind: str = policies.PERSON,
        owners: tuple[str, ...] = (),
        models: tuple[str, ...] | None = None,
    ) -> Identity:
        """Let a principal join with these roles: keys made, policy signed, environment keys wrapped."""
        identity = new_identity(name, self.kind, self.vault)
        self.identities[name] = identity
        digest = keyring.store_recipient(self.store, age_key(identity))
        member = Member(
            name=Principal(name),
            kind=kind,
            owners=tuple(Principal(owner) for owner in owners),
            roles=tuple(Principal(role) for role in roles),
            models=models,
            keys=(Key(identity.public, Digest(identity.key_id), revoked=False, until=None),),
            recipients=(RecipientId(self.kind, digest),),
        )
        after = self.amend(lambda before: replace(before, members={**before.members, member.name: member}))
        for environment in after.environments:
            if member in policies.readers(after, environment):
                self.grant(name, environment)
        return identity

    def grant(self, name: str, environment: str) -> None:
        """Wrap an environment's key for somebody."""
        place = names.environment(environment)
        to = recipients.parse_recipient(age_key(self.identities[name]))
        private = self.environment_key(environment)
        keyring.wrap_environment_key(self.store, private, place, 1, Principal(name), to, self.draws)

    def environment_key(self, environment: str) -> recipients.Identity:
        """Unwrap an environment's private key with the recovery identity."""
        folder = layout.environment_keys(names.environment(environment), 1, layout.RECOVERY)
        (name,) = self.store.list(folder)
        line = recipients.decrypt_bytes(
            self.store.objects[name], [recipients.parse_identity(self.recovery)], limit=limits.KIB
        )
        return recipients.parse_identity(line.decode().strip())

    # --- documents by hand ---

    def sign(self, kind: str, payload: bytes, *who: str) -> bytes:
        """Put a payload into an envelope signed by each of `who`."""
        signers = [
            (Digest(identity.key_id), identity.sign) for identity in (self.identities[name] for name in who)
        ]
        return envelope.serialise(envelope.sign(kind, payload, signers))

    def write(self, name: str, data: bytes) -> None:
        """Store an object, over whatever lies there."""
        self.store.objects[name] = data

    def manifest(self, ref: str | Reference) -> tuple[manifests.Manifest, Digest]:
        """Give the manifest of `model:version` and its digest, unverified."""
        meant = reference(ref)
        name = layout.manifest(meant.model, meant.version or Version("1"))
        sealed = envelope.parse(self.store.objects[name], kind=manifests.KIND, subject=name)
        return manifests.parse(sealed.payload, name), sealed.digest

    def approve(self, ref: str | Reference, who: str, *, env: str = "prod", seq: int = 0) -> Approval:
        """Write a person's approval of a version for an environment."""
        found, digest = self.manifest(ref)
        approval = Approval(
            vault=self.vault,
            policy=self.policy_id,
            model=found.model,
            version=found.version,
            manifest=digest,
            environment=names.environment(env),
            seq=seq,
            created=self.time,
        )
        payload = records.encode_approval(approval)
        data = self.sign(records.APPROVAL, payload, who)
        self.write(
            layout.approval(found.model, found.version, approval.environment, envelope.digest(data)), data
        )
        return approval

    def record(
        self,
        ref: str | Reference | None,
        seq: int,
        *,
        env: str = "prod",
        slot: str = "main",
        model: str = "churn",
        bars: tuple[str, ...] = (),
        prev: str | None = None,
    ) -> ChannelRecord:
        """Make a channel record that names `ref`, or nothing, and bars versions (`model:version`)."""
        version, digest = None, None
        if ref is not None:
            found, digest = self.manifest(ref)
            version, model = found.version, found.model
        return ChannelRecord(
            vault=self.vault,
            policy=self.policy_id,
            environment=names.environment(env),
            slot=names.slot(slot),
            model=names.model(model),
            seq=seq,
            version=version,
            manifest=digest,
            prev=None if prev is None else names.digest(prev),
            bars=tuple(self.manifest(entry)[1] for entry in bars),
            created=self.time,
        )

    def write_record(self, record: ChannelRecord, who: str = "owner", *, name: str | None = None) -> str:
        """Sign a channel record and store it where it belongs, or under `name`; give the name."""
        folder = layout.channel(record.environment, record.slot, record.model)
        place = name or folder + layout.numbered(record.seq)
        self.write(place, self.sign(records.CHANNEL, records.encode_channel(record), who))
        return place

    @property
    def time(self) -> str:
        """The time as documents spell it."""
        return names.time_text(self.now)


def package_file(path: str, data: bytes, pins: tuple[str, ...] = ()) -> PackageFile:
    """Describe bytes for `publish`, with the role that the path suggests."""

    class _Opened:
        def __enter__(self) -> BytesSource:
            return BytesSource(data)

        def __exit__(self, *_: object) -> None:
            return None

    role = "file"
    if path.startswith("model."):
        role = "model"
    elif path == "features.json":
        role = "features"
    elif path.startswith("artifacts/"):
        role = "artifact"
    return PackageFile(names.path(path), role, formats.classify(path, data), _Opened, pins)


def channel(model: str = "churn", env: str = "prod", slot: str = "main") -> Channel:
    """Name a channel."""
    return Channel(names.environment(env), names.slot(slot), names.model(model))


def _found(kind: Kind, policy: str, seed: str) -> Built:
    """Found a vault; `seed` keeps two vaults apart, in keys and in id."""
    draws = Draws(f"vault {kind} {seed}")
    owner = new_identity("owner", kind, seed)
    store = MemoryStore()
    kept: list[str] = []
    founded = founding.init(
        store,
        owner,
        policyfile.parse(policy, "policy.yaml"),
        kind=kind,
        now=names.time_text(NOW),
        random=draws,
        keep_recovery=kept.append,
    )
    return Built(store, founded.vault, kind, {"owner": owner}, kept[0], draws)


@cache
def _built(kind: Kind, policy: str, seed: str) -> Built:
    return _found(kind, policy, seed)


@cache
def _team(kind: Kind, seed: str) -> Built:
    built = _found(kind, TEAM, seed)
    built.add("dora", "data-scientist")
    for name in ("ann", "bob", "cat"):
        built.add(name, "release-manager")
    built.add("rex", "releaser", "release-manager")
    built.add("server", "loader", kind=policies.SERVICE, owners=("owner",), models=("churn", "nepse/*"))
    built.add("robot", "data-scientist", kind=policies.SERVICE, owners=("ann",))
    return built


def solo(kind: Kind = "x25519", *, seed: str = "", policy: str | None = None) -> Built:
    """Build a vault of one owner, by `policies/solo.yaml` or by the text of another policy file."""
    return _built(kind, policyfile.shipped("solo") if policy is None else policy, seed).fork(forgetful=False)


def team(kind: Kind = "x25519", *, seed: str = "") -> Built:
    """Build a vault by TEAM.

    `owner` and `dora` publish, `ann`, `bob`, `cat` and `rex` may approve, `rex` promotes, the services
    are `server`, which loads in prod, and `robot`, which publishes and is ann's.
    """
    return _team(kind, seed).fork(forgetful=False)
