"""A slow second opinion on what may be used: docs/format.md read anew, over nothing but stored bytes.

Nothing here is shared with the vault's own decisions: every question is answered by going through all
objects, in any order (`team_documents` reads them).
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.property.team_documents import Denied, Document, Order, Value, covers, document, signed_by

NUMBER: Final = re.compile(r"([0-9]{6}|[1-9][0-9]{6,15})\.json\Z", re.ASCII)
VOTE: Final = re.compile(r"([0-9a-f]{64})\.json\Z", re.ASCII)
SLOT: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True)
class Record:
    """A genuine channel record; `newer` tells that it names a policy that the store does not offer."""

    slot: str
    seq: int
    order: Order
    digest: str
    manifest: str | None
    version: str | None
    bars: frozenset[str]
    prev: str | None
    signers: frozenset[str]
    newer: bool


@dataclass
class Opinion:
    """What one store's objects come to for somebody who has no memory; `Denied` where nothing does."""

    objects: Mapping[str, bytes]
    vault: str
    past: Document | None = None  # a policy that was in force once, instead of the newest
    policy: Value = field(init=False)
    policy_order: Order = field(init=False)
    policy_digest: str = field(init=False)
    withheld: set[str] = field(default_factory=set)  # genuine, and made under a policy that is not here

    def __post_init__(self) -> None:
        best = self._newest() if self.past is None else self.past
        self.policy, self.policy_order, self.policy_digest = best.value, _order(best.value), best.digest
        self.keys = {
            base64.b64decode(key["public"]): (name, not key["revoked"] and key["until"] is None)
            for name, member in self.policy["principals"].items()
            for key in member["keys"]
        }
        self.ids = {hashlib.sha256(key).hexdigest(): key for key in self.keys}

    def _newest(self) -> Document:
        """Give the newest policy that the holders of the pinned root signed."""
        root = document(self.objects.get("trust/root/000001.json", b""), "root")
        if root is None or root.digest != self.vault:
            raise Denied("no-such-vault", "digest-mismatch", "malformed-envelope", "malformed-json")
        holders = [(key["name"], base64.b64decode(key["public"])) for key in root.value["keys"]]
        if len({name for name, key in holders if signed_by(root, key)}) < root.value["threshold"]:
            raise Denied("unsigned", "untrusted-signer", "bad-signature", "threshold-not-met")
        best: Document | None = None
        for number, data in self.numbered("trust/policy/"):
            found = document(data, "policy")
            if found is None or (found.value["version"], found.value["vault"]) != (number, self.vault):
                continue
            if len({name for name, key in holders if signed_by(found, key)}) < root.value["threshold"]:
                continue
            if best is None or _order(found.value) > _order(best.value):
                best = found
        if best is None:
            raise Denied("not-found")
        return best

    # --- what lies there ---

    def numbered(self, folder: str) -> Iterator[tuple[int, bytes]]:
        for name, data in self.objects.items():
            told = NUMBER.match(name.removeprefix(folder)) if name.startswith(folder) else None
            if told and int(told[1]) > 0:
                yield int(told[1]), data

    def named_after_content(self, folder: str, kind: str) -> Iterator[Document]:
        for name, data in self.objects.items():
            told = VOTE.match(name.removeprefix(folder)) if name.startswith(folder) else None
            found = document(data, kind) if told and told[1] == hashlib.sha256(data).hexdigest() else None
            if found is not None:
                yield found

    # --- who may ---

    def holder(self, key_id: str) -> str | None:
        """Give who has a key, if it counts."""
        name, counts = self.keys.get(self.ids.get(key_id, b""), ("", False))
        return name if counts else None

    def signers(self, found: Document) -> frozenset[str]:
        return frozenset(
            name for key, (name, counts) in self.keys.items() if counts and signed_by(found, key)
        )

    def may(self, who: str, action: str, model: str, env: str) -> bool:
        member = self.policy["principals"].get(who)
        if member is None or env not in self.policy["environments"]:
            return False
        return any(
            action in rule["actions"]
            and (rule["to"] == env if action == "promote" else env in rule["env"])
            and covers(rule["models"], model)
            and covers(member["models"], model)
            and not (rule["own"] and member["models"] is None)
            for role in member["roles"]
            for rule in self.policy["roles"][role]
        )

    def may_somewhere(self, who: str, action: str, model: str) -> bool:
        return any(self.may(who, action, model, env) for env in self.policy["environments"])

    def may_attest(self, who: str, env: str) -> bool:
        member = self.policy["principals"][who]
        return (member["models"] is None or "*" in member["models"]) and any(
            "attest" in rule["actions"]
            and env in rule["env"]
            and (rule["models"] is None or "*" in rule["models"])
            and not (rule["own"] and member["models"] is None)
            for role in member["roles"]
            for rule in self.policy["roles"][role]
        )

    def is_person(self, who: str) -> bool:
        return bool(self.policy["principals"][who]["kind"] == "person")

    def behind(self, who: str) -> frozenset[str]:
        """Give the people whose act somebody's act is."""
        member = self.policy["principals"].get(who)
        if member is None:
            return frozenset()
        return frozenset([who] if member["kind"] == "person" else member["owners"])

    def is_newer(self, value: Value, what: str) -> bool:
        named = value["policy"]
        order = (named["era"], named["version"])
        newer = order > self.policy_order or (
            order == self.policy_order and named["digest"] != self.policy_digest
        )
        if newer:
            self.withheld.add(what)
        return newer

    # --- channels ---

    def records(self, env: str, model: str) -> list[Record]:
        """Give the genuine records of a model in every slot of an environment, whatever their approvals."""
        found = []
        for name in self.objects:
            slot = name.removeprefix(f"channels/{env}/").partition("/")[0]
            folder = f"channels/{env}/{slot}/{model}/@/"
            told = NUMBER.match(name.removeprefix(folder)) if name.startswith(folder) else None
            if told and SLOT.match(slot):
                record = self._record(env, slot, model, int(told[1]), self.objects[name])
                found += [] if record is None else [record]
        return found

    def _record(self, env: str, slot: str, model: str, number: int, data: bytes) -> Record | None:
        found = document(data, "channel")
        if found is None:
            return None
        said = found.value
        place = (self.vault, env, slot, model, number)
        if tuple(said[key] for key in ("vault", "environment", "slot", "model", "seq")) != place:
            return None
        if said["manifest"] in said["bars"] or (said["manifest"] is None and not said["bars"]):
            return None
        actions = ["promote"] if said["manifest"] else ["promote", "withdraw", "approve"]
        signers = frozenset(
            who for who in self.signers(found) if any(self.may(who, action, model, env) for action in actions)
        )
        if not signers:
            return None
        lifted = (self.policy["continues"] or {}).get(f"{env}/{slot}/{model}")
        era = said["policy"]["era"]
        if lifted == {"digest": found.digest, "seq": number}:
            era = self.policy["era"]
        return Record(
            slot, number, (era, number), found.digest, said["manifest"], said["version"],
            frozenset(said["bars"]), said["prev"], signers, self.is_newer(said, f"{env}/{slot}/{number}"),
        )  # fmt: skip

    def is_record(self, env: str, slot: str, model: str, number: int, data: bytes) -> bool:
        """Tell whether something is a genuine record of a channel."""
        return self._record(env, slot, model, number, data) is not None

    def approvers(
        self, env: str, model: str, version: str, digest: str, *, bar: Order, publishers: list[str],
        promoters: frozenset[str],
    ) -> frozenset[str]:  # fmt: skip
        """Give the different people whose approvals of a manifest count."""
        rule = self.policy["environments"][env]["require"]["approvals"]
        acted = {"publisher": publishers, "promoter": promoters}
        out = {one for name in rule["distinct_from"] for who in acted[name] for one in self.behind(who)}
        counted = set()
        for found in self.named_after_content(f"models/{model}/@/{version}/approvals/{env}/", "approval"):
            said = found.value
            if (said["vault"], said["model"], said["environment"], said["manifest"]) != (
                self.vault, model, env, digest,
            ):  # fmt: skip
                continue
            people = {
                who
                for who in self.signers(found)
                if self.is_person(who) and self.may(who, "approve", model, env)
            }
            if not people or self.is_newer(said, "an approval"):
                continue
            if (said["policy"]["era"], said["seq"]) >= bar:
                counted |= people
        roles = self.policy["principals"]
        return frozenset(who for who in counted - out if rule["role"] in roles[who]["roles"])

    def is_approved(self, env: str, model: str, record: Record, records: list[Record]) -> bool:
        """Tell whether a record has its approvals; `Denied` where it has, and names what does not verify."""
        rule = self.policy["environments"][env]["require"]["approvals"]
        if rule is None or record.manifest is None or record.version is None:
            return True
        earlier = [other.order for other in records if record.manifest in other.bars]
        bar = max((order for order in earlier if order < record.order), default=(0, 0))
        anybody = self.approvers(
            env, model, record.version, record.manifest, bar=(0, 0), publishers=[], promoters=frozenset()
        )
        if len(anybody) < rule["threshold"]:
            return False
        _, publishers = self.manifest(model, record.version, record.manifest, None)
        counted = self.approvers(
            env, model, record.version, record.manifest,
            bar=bar, publishers=publishers, promoters=record.signers,
        )  # fmt: skip
        return bool(len(counted) >= rule["threshold"])

    def channel(self, env: str, slot: str, model: str) -> tuple[Record | None, Record | None, bool]:
        """Give a channel's newest record in force, the one that names its version, whether that is barred."""
        records = [record for record in self.records(env, model) if not record.newer]
        mine = sorted((one for one in records if one.slot == slot), key=lambda one: one.order, reverse=True)
        head = next((one for one in mine if self.is_approved(env, model, one, records)), None)
        if head is None or head.manifest is not None:
            return head, head, head is not None and _bars(records, head)
        start, naming = head, head
        while naming.manifest is None:
            followed = [one for one in mine if one.digest == naming.prev and one.order <= naming.order]
            if not followed:
                return head, None, False
            naming = followed[0]
        for one in mine:  # nobody chooses a version by `prev` past one that holds
            between = naming.order < one.order < start.order and one.manifest is not None
            if between and self.is_approved(env, model, one, records):
                return head, one, _bars(records, one)
        barred = _bars(records, naming)
        if not barred and not self.is_approved(env, model, naming, records):
            return head, None, False
        return head, naming, barred

    # --- versions ---

    def adopters(self, model: str, version: str, digest: str) -> list[str]:
        found: list[str] = []
        for adoption in self.named_after_content(f"models/{model}/@/{version}/adoptions/", "adoption"):
            said = adoption.value
            if (said["vault"], said["model"], said["version"], said["manifest"]) != (
                self.vault, model, version, digest,
            ):  # fmt: skip
                continue
            people = {
                who
                for who in self.signers(adoption)
                if self.is_person(who) and self.may_somewhere(who, "adopt", model)
            }
            if people and not self.is_newer(said, "an adoption"):
                found += sorted(people)
        return found

    def manifest(
        self, model: str, version: str, wanted: str | None, here: str | None
    ) -> tuple[Document, list[str]]:
        """Verify a version's manifest; give it and who counts as its publishers."""
        data = self.objects.get(f"models/{model}/@/{version}/manifest.json")
        if data is None:
            raise Denied("not-found")
        found = document(data, "manifest")
        if found is None:
            raise Denied("malformed-json", "malformed-envelope", "wrong-payload-type", "malformed-document")
        adopters = self.adopters(model, version, found.digest)
        if not self.signers(found) and not adopters:
            raise Denied("untrusted-signer", "bad-signature", "unsigned")
        if wanted not in (None, found.digest):
            raise Denied("digest-mismatch")
        said = found.value
        if (said["vault"], said["model"], said["version"]) != (self.vault, model, version):
            raise Denied("misplaced")
        if self.is_newer(said, "a manifest"):
            raise Denied("withheld")
        standing = [who for who in adopters if here is None or self.may(who, "adopt", model, here)]
        names: list[str] = []
        for key_id in said["publishers"]:
            key = self.ids.get(key_id)
            name, counts = self.keys.get(key or b"", ("", False))
            has_signed = key is not None and signed_by(found, key)
            names += [name] if key is not None else []
            allowed = counts and (
                self.may_somewhere(name, "publish", model)
                if here is None
                else self.may(name, "publish", model, here)
            )
            if has_signed and allowed:
                continue
            if not standing or (key is not None and not has_signed):
                raise Denied("untrusted-signer", "not-promoted")
            names += standing
        return found, names


def _bars(records: list[Record], naming: Record) -> bool:
    return any(naming.manifest in one.bars and one.order >= naming.order for one in records)


def _order(policy: Value) -> Order:
    return policy["era"], policy["version"]
