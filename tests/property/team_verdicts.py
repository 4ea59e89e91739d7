"""What the slow oracle says of a load or a promotion, by one client with its memory, at one time."""

from collections.abc import Mapping
from typing import Any, Final

from tests.property.team_documents import (
    Denied,
    Document,
    Known,
    Order,
    Seen,
    Use,
    Verdict,
    covers,
    document,
    nothing_required,
    parse_known,
    seconds,
    signed_by,
)
from tests.property.team_oracle import Opinion, Record

DAY: Final = 86_400


class Judge:
    """One client's question to one store."""

    def __init__(self, objects: Mapping[str, bytes], vault: str, seen: Seen, now: int) -> None:
        self.opinion = Opinion(objects, vault)
        self.objects, self.seen, self.now = objects, seen, now
        self.era = self.opinion.policy_order[0]

    # --- step 2 ---

    def enter(self, env: str) -> None:
        """Demand the newest policy that was seen, in its time, and heads as new as those that were seen."""
        mine = self.opinion
        known = self.seen.policy
        if known is not None and (
            known[:2] > mine.policy_order
            or (known[:2] == mine.policy_order and known[2] != mine.policy_digest)
        ):
            raise Denied("rollback")
        expires = mine.policy["expires"]
        if expires is not None and seconds(expires) <= self.now:
            raise Denied("expired")
        if env not in mine.policy["environments"]:
            raise Denied("not-found")
        if self.mode(env) is not None:
            self._check_heads(env)

    def mode(self, env: str) -> str | None:
        asked: str | None = self.opinion.policy["environments"][env]["require"]["fresh"]
        return asked

    def heads(self, env: str) -> Document | None:
        """Give the heads in force."""
        mine = self.opinion
        for number, data in sorted(mine.numbered(f"trust/heads/{env}/"), reverse=True):
            found = document(data, "heads")
            if found is None:
                continue
            said = found.value
            if (said["vault"], said["environment"], said["number"]) != (mine.vault, env, number):
                continue
            if not any(mine.may_attest(who, env) for who in mine.signers(found)):
                continue
            named = said["policy"]
            order = (named["era"], named["version"])
            if order > mine.policy_order or (
                order == mine.policy_order and named["digest"] != mine.policy_digest
            ):
                raise Denied("withheld")
            if named["era"] == self.era:
                return found
        return None

    def _check_heads(self, env: str) -> None:
        found = self.heads(env)
        known = self.seen.heads.get(env)
        if known is None or known[0] < self.era:
            return
        order: Order = (0, 0) if found is None else (found.value["policy"]["era"], found.value["number"])
        if found is not None and (order > known[:2] or (order, found.digest) == (known[:2], known[2])):
            return
        there = self.objects.get(f"trust/heads/{env}/{known[1]:06d}.json", b"")
        if order == known[:2] or not self._was_in_force(there, "heads", known[2]):
            raise Denied("rollback")

    def _was_in_force(self, data: bytes, kind: str, digest: str) -> bool:
        """Tell whether a document that was seen is there, signed as the policy that it names asks."""
        found = document(data, kind)
        if found is None or found.digest != digest:
            return False
        said, named = found.value, found.value["policy"]
        then = document(self.objects.get(f"trust/policy/{named['version']:06d}.json", b""), "policy")
        if then is None or then.digest != named["digest"]:
            return False
        past = Opinion(self.objects, self.opinion.vault, then)
        if kind == "heads":
            return any(past.may_attest(who, said["environment"]) for who in past.signers(found))
        return past.is_record(said["environment"], said["slot"], said["model"], said["seq"], data)

    def _lapsed(self, env: str) -> bool:
        found = self.heads(env)
        return (
            found is None
            or seconds(found.value["expires"]) <= self.now
            or seconds(found.value["created"]) > self.now + DAY
        )

    # --- step 3 ---

    def authorise(self, use: Use) -> str:
        who = self.opinion.holder(use.key_id)
        if who is None or not self.opinion.may(who, use.action, use.model, use.env):
            raise Denied("access-denied")
        return who

    # --- steps 4 to 6, and memory ---

    def decide(self, use: Use) -> Verdict:
        """Say what a load or a pull may give; `Denied` if nothing."""
        self.enter(use.env)
        self.authorise(use)
        return self._find(use)

    def _find(self, use: Use) -> Verdict:
        if use.slot is not None:
            return self._by_channel(use, use.slot)
        if use.version is not None:
            return self._by_version(use, use.version)
        return self._newest(use)

    def _by_channel(self, use: Use, slot: str) -> Verdict:
        rule = self.opinion.policy["environments"][use.env]["require"]
        head, naming, barred = self.opinion.channel(use.env, slot or "main", use.model)
        self._remembers(use, slot or "main", head)
        if head is None:
            if slot or not nothing_required(rule) or not self._somebody_publishes(use.env):
                raise Denied("not-found")
            return self._newest(use)
        if naming is None or barred or naming.version is None:
            raise Denied("barred")
        found, publishers = self.opinion.manifest(use.model, naming.version, naming.manifest, None)
        return self._finish(use, naming, found, publishers, {slot or "main": head})

    def _somebody_publishes(self, env: str) -> bool:
        rules = [rule for rules in self.opinion.policy["roles"].values() for rule in rules]
        return any("publish" in rule["actions"] and env in rule["env"] for rule in rules)

    def _by_version(self, use: Use, version: str) -> Verdict:
        rule = self.opinion.policy["environments"][use.env]["require"]
        found, publishers = self.opinion.manifest(use.model, version, None, None)
        naming = self._naming(use, found.digest)
        if naming is None:
            if not nothing_required(rule):
                raise Denied("not-promoted")
            found, publishers = self.opinion.manifest(use.model, version, None, use.env)
        return self._finish(use, naming, found, publishers, {})

    def _naming(self, use: Use, digest: str) -> Record | None:
        """Give the newest record in force that names a manifest; `Denied` where a later one bars it."""
        records = [record for record in self.opinion.records(use.env, use.model) if not record.newer]
        names = [
            record
            for record in records
            if record.manifest == digest and self.opinion.is_approved(use.env, use.model, record, records)
        ]
        naming = max(names, key=lambda record: record.order, default=None)
        bar = max((record.order for record in records if digest in record.bars), default=None)
        if bar is not None and (naming is None or bar >= naming.order):
            raise Denied("barred")
        return naming

    def _newest(self, use: Use) -> Verdict:
        rule = self.opinion.policy["environments"][use.env]["require"]
        excluded: set[int] = set()
        for version in sorted(self._versions(use.model), reverse=True):
            try:
                found, publishers = self.opinion.manifest(use.model, str(version), None, use.env)
                naming = self._naming(use, found.digest)
                if naming is None and not nothing_required(rule):
                    raise Denied("not-promoted")
            except Denied as denied:
                if "withheld" in denied.codes:
                    raise
                if self._still_there(use.model, version):
                    excluded.add(version)
                continue
            self._check_newest(use.model, version, excluded)
            return self._finish(use, naming, found, publishers, {})
        self._check_newest(use.model, 0, excluded)
        raise Denied("not-found")

    def _versions(self, model: str) -> set[int]:
        folder = f"models/{model}/@/"
        rests = [name.removeprefix(folder) for name in self.objects if name.startswith(folder)]
        return {int(rest.partition("/")[0]) for rest in rests if rest.partition("/")[0].isdecimal()}

    def _known_versions(self) -> Mapping[str, str]:
        known = self.seen.policy
        return {} if known is not None and known[0] < self.era else self.seen.versions

    def _still_there(self, model: str, version: int) -> bool:
        """Tell whether a version that was seen lies there with all signatures that can be asked for."""
        known = self._known_versions().get(f"{model}:{version}")
        found = document(self.objects.get(f"models/{model}/@/{version}/manifest.json", b""), "manifest")
        if known is None or found is None or found.digest != known:
            return False
        keys = [self.opinion.ids.get(key_id) for key_id in found.value["publishers"]]
        return None in keys or all(key is not None and signed_by(found, key) for key in keys)

    def _check_newest(self, model: str, newest: int, excluded: set[int]) -> None:
        for key in self._known_versions():
            name, _, version = key.rpartition(":")
            if name == model and int(version) not in excluded and int(version) > newest:
                raise Denied("rollback")

    def _finish(
        self, use: Use, naming: Record | None, found: Document, publishers: list[str],
        looked: dict[str, Record],
    ) -> Verdict:  # fmt: skip
        self.require(use.env, found)
        held = self._held(use, naming, looked)
        mode = self.mode(use.env)
        strict = mode == "refuse" or (mode == "stale" and not held)
        if strict and use.action in ("load", "pull") and self._lapsed(use.env):
            raise Denied("heads-expired")
        version = found.value["version"]
        if self._known_versions().get(f"{use.model}:{version}", found.digest) != found.digest:
            raise Denied("rollback")
        self._check_company(use)
        self._check_withheld(use, naming)
        return Verdict(found.digest, version, frozenset(), tuple(publishers), bool(self.opinion.withheld))

    def require(self, env: str, found: Document) -> None:
        """Demand what an environment asks of a version beside approvals: its format and its age."""
        rule = self.opinion.policy["environments"][env]
        models = [file["format"] for file in found.value["files"] if file["role"] == "model"]
        if not set(models) & set(rule["formats"]):
            raise Denied("format-refused")
        days = rule["require"]["max_age_days"]
        age = self.now - seconds(found.value["created"])
        if days is not None and not -DAY <= age <= days * DAY:
            raise Denied("expired")

    def _check_withheld(self, use: Use, naming: Record | None) -> None:
        """Demand that no record that might change the answer names a newer policy."""
        since = (0, 0) if naming is None else naming.order
        if any(one.newer and one.order >= since for one in self.opinion.records(use.env, use.model)):
            raise Denied("withheld")

    def _held(self, use: Use, naming: Record | None, looked: dict[str, Record]) -> bool:
        """Tell whether this client knew a channel that it uses as it is."""
        used = {**looked}
        if not used and naming is not None:
            used = {naming.slot: naming}
        return any(
            self.seen.channels.get(f"{use.env}/{slot}/{use.model}") == (*record.order, record.digest)
            for slot, record in used.items()
        )

    def _remembers(self, use: Use, slot: str, head: Record | None) -> None:
        """Demand that a channel is no older than this client, and the heads, say."""
        known = self.seen.channels.get(f"{use.env}/{slot}/{use.model}")
        if (
            known is not None
            and not self._may_be_gone(use.env, slot, use.model, known, head)
            and (
                head is None
                or head.order < known[:2]
                or (head.order == known[:2] and head.digest != known[2])
            )
        ):
            raise Denied("rollback")
        attested = self._attested(use).get(slot)
        if attested is not None and (
            head is None
            or head.order < attested[:2]
            or (head.order == attested[:2] and head.digest != attested[2])
        ):
            raise Denied("rollback")

    def _may_be_gone(self, env: str, slot: str, model: str, known: Known, head: Record | None) -> bool:
        lifted = self.opinion.policy["continues"]
        return (
            head is None
            and lifted is not None
            and f"{env}/{slot}/{model}" not in lifted
            and known[0] < self.era
        )

    def _attested(self, use: Use) -> dict[str, Known]:
        """Give what the heads say of a model's channels, by slot."""
        found = self.heads(use.env) if self.mode(use.env) is not None else None
        marks = {} if found is None else found.value["channels"]
        return {
            key.partition("/")[0]: parse_known(mark)
            for key, mark in marks.items()
            if key.partition("/")[2] == use.model
        }

    def _check_company(self, use: Use, *, attested: bool = True) -> None:
        """Demand, in every slot, that no record that was seen or attested is hidden."""
        lifted = self.opinion.policy["continues"]
        wanted = list(self._attested(use).items()) if attested else []
        for key, mark in self.seen.channels.items():
            env, slot, model = key.split("/", 2)
            gone = lifted is not None and key not in lifted and mark[0] < self.era
            if (env, model) == (use.env, use.model) and not gone:
                wanted.append((slot, mark))
        for slot, mark in wanted:
            records = [
                record
                for record in self.opinion.records(use.env, use.model)
                if record.slot == slot and not record.newer
            ]
            went_on = mark[0] < self.era and any(record.order > mark[:2] for record in records)
            there = any(record.digest == mark[2] for record in records) or went_on
            name = f"channels/{use.env}/{slot}/{use.model}/@/{mark[1]:06d}.json"
            if not there and not self._was_in_force(self.objects.get(name, b""), "channel", mark[2]):
                raise Denied("rollback")

    # --- promotions ---

    def promote(self, use: Use, slot: str) -> Verdict:
        """Say whether a version may be promoted by its number into `use.env`; `Denied` if not."""
        mine = self.opinion
        self.enter(use.env)
        who = self.authorise(use)
        assert use.version is not None
        found: Verdict | None = None
        for place in self._sources(who, use):
            self.enter(place)
            source = Use(use.key_id, "load", place, use.model, version=use.version)
            self.authorise(source)
            try:
                found = self._find(source)
                break
            except Denied as denied:
                if denied.codes != {"not-promoted"} and denied.codes != {"untrusted-signer", "not-promoted"}:
                    raise
        if found is None or found.manifest is None:
            raise Denied("not-promoted", "access-denied", "untrusted-signer")
        stored = document(mine.objects[f"models/{use.model}/@/{use.version}/manifest.json"], "manifest")
        assert stored is not None
        self.require(use.env, stored)
        rule = mine.policy["environments"][use.env]["require"]["approvals"]
        if rule is not None:
            bars = [one.order for one in mine.records(use.env, use.model) if found.manifest in one.bars]
            counted = mine.approvers(
                use.env, use.model, use.version, found.manifest, bar=max(bars, default=(0, 0)),
                publishers=list(found.publishers), promoters=frozenset([who]),
            )  # fmt: skip
            if len(counted) < rule["threshold"]:
                raise Denied("approvals-missing")
        head, _, _ = mine.channel(use.env, slot, use.model)
        known = self.seen.channels.get(f"{use.env}/{slot}/{use.model}")
        if known is None or (head is not None and head.order >= known[:2]):
            self._remembers(use, slot, head)  # else it has lapsed with its signers, and this mends it
        self._check_company(use, attested=False)
        return found

    def _sources(self, who: str, use: Use) -> list[str]:
        member = self.opinion.policy["principals"][who]
        rules = [rule for role in member["roles"] for rule in self.opinion.policy["roles"][role]]
        return list(
            dict.fromkeys(
                rule["from"]
                for rule in rules
                if rule["to"] == use.env
                and covers(rule["models"], use.model)
                and covers(member["models"], use.model)
            )
        )


def sealing(
    mine: Opinion, model: str, version: str, manifest: str, publishers: tuple[str, ...]
) -> dict[str, Any] | None:
    """Give the newest sealing record in force of a manifest; None if there is none."""
    for number, data in sorted(mine.numbered(f"models/{model}/@/{version}/sealed/"), reverse=True):
        found = document(data, "sealing")
        if found is None:
            continue
        said = found.value
        place = (mine.vault, model, version, number, manifest)
        if tuple(said[key] for key in ("vault", "model", "version", "number", "manifest")) != place:
            continue
        signers = mine.signers(found)
        if not any(who in publishers or mine.may_somewhere(who, "rotate", model) for who in signers):
            continue
        return None if mine.is_newer(said, "a sealing record") else dict(said)
    return None
