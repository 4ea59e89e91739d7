"""What dishonest people sign by hand, with their own keys: genuine signatures under what they may not say."""

from contextlib import suppress
from dataclasses import replace

from hypothesis import strategies as st

from tests.builders import Built
from tests.property.team_acts import Refusals, Team
from vault.core import envelope, heads, layout, names, policy_document, records
from vault.core.heads import Heads
from vault.core.memory_format import parse_mark
from vault.core.names import Digest
from vault.core.policy import PolicyId
from vault.core.records import Adoption, Approval, ChannelRecord


def raw_documents(team: Team, data: st.DataObject) -> None:
    """Let somebody sign what no honest client writes, with their own key, and store it where it belongs."""
    built = team.built
    who = data.draw(st.sampled_from(sorted(built.identities)), "who")
    kind = data.draw(
        st.sampled_from(["record", "record", "record", "approval", "approval", "adoption", "heads", "policy"])
    )
    try:
        RAW[kind](built, data, who)
    except Refusals:
        return
    finally:
        team.note({})


def _policy_id(built: Built, data: st.DataObject) -> PolicyId:
    """Name the policy in force, or claim an older one."""
    newest = built.policy_id
    if data.draw(st.integers(0, 3), "older") or newest.version < 2:
        return newest
    return replace(newest, era=data.draw(st.integers(0, newest.era), "era"), version=newest.version - 1)


def _digests(built: Built, model: str) -> dict[str, tuple[str, Digest]]:
    found = {}
    for name in sorted(built.store.objects):
        if name.startswith(f"models/{model}/@/") and name.endswith("/manifest.json"):
            version = name.split("/")[-2]
            with suppress(*Refusals):
                found[version] = (version, built.manifest(f"{model}:{version}")[1])
    return found


def _model(data: st.DataObject) -> str:
    return data.draw(st.sampled_from(["churn", "churn", "nepse/a"]), "model")


def _record(built: Built, data: st.DataObject, who: str) -> None:
    model, env = _model(data), data.draw(st.sampled_from(["prod", "prod", "staging", "dev"]), "env")
    slot = data.draw(st.sampled_from(["main", "main", "b"]), "slot")
    known = _digests(built, model)
    named = data.draw(st.sampled_from([None, *known]), "version")
    bars: set[str] = set()
    if known:
        bars = data.draw(st.sets(st.sampled_from(sorted(known)), max_size=2), "bars")
    folder = f"channels/{env}/{slot}/{model}/@/"
    there = [built.store.objects[name] for name in sorted(built.store.objects) if name.startswith(folder)]
    prev = None
    if there and bool(data.draw(st.booleans(), "prev")):
        with suppress(*Refusals):
            followed: bytes = data.draw(st.sampled_from(there), "follows")
            prev = envelope.parse(followed, kind=records.CHANNEL, subject="").digest
    record = ChannelRecord(
        built.vault, _policy_id(built, data), names.environment(env), names.slot(slot), names.model(model),
        data.draw(st.integers(1, 9), "seq"),
        None if named is None else names.version(named), None if named is None else known[named][1],
        prev, tuple(sorted(known[version][1] for version in bars if version != named)), built.time,
    )  # fmt: skip
    built.write_record(record, who)


def _approval(built: Built, data: st.DataObject, who: str) -> None:
    model, env = _model(data), data.draw(st.sampled_from(["prod", "prod", "staging"]), "env")
    known = _digests(built, model)
    if known:
        version, digest = known[data.draw(st.sampled_from(sorted(known)), "version")]
        record = Approval(
            built.vault, _policy_id(built, data), names.model(model), names.version(version), digest,
            names.environment(env), data.draw(st.integers(0, 9), "seq"), built.time,
        )  # fmt: skip
        signed = built.sign(records.APPROVAL, records.encode_approval(record), who)
        built.write(
            layout.approval(record.model, record.version, record.environment, envelope.digest(signed)), signed
        )


def _adoption(built: Built, data: st.DataObject, who: str) -> None:
    model = _model(data)
    known = _digests(built, model)
    if known:
        version, digest = known[data.draw(st.sampled_from(sorted(known)), "version")]
        record = Adoption(
            built.vault,
            _policy_id(built, data),
            names.model(model),
            names.version(version),
            digest,
            built.time,
        )
        signed = built.sign(records.ADOPTION, records.encode_adoption(record), who)
        built.write(layout.adoption(record.model, record.version, envelope.digest(signed)), signed)


def _heads(built: Built, data: st.DataObject, who: str) -> None:
    env = names.environment(data.draw(st.sampled_from(["dev", "staging", "prod"]), "env"))
    trusted = built.trusted
    channels = {}
    if data.draw(st.booleans(), "marks"):
        channels = {"main/churn": parse_mark(f"0.{data.draw(st.integers(1, 9))}.{'0' * 64}")}
    statement = Heads(
        built.vault, env, data.draw(st.integers(1, 9), "number"), (trusted.root.version, trusted.digest),
        _policy_id(built, data), channels, built.time, names.time_text(built.now + 5 * 86_400),
    )  # fmt: skip
    signed = built.sign(heads.KIND, heads.encode(statement), who)
    built.write(layout.heads(env) + layout.numbered(statement.number), signed)


def _policy(built: Built, data: st.DataObject, who: str) -> None:
    """Sign a policy in which nothing needs approval; it counts for nothing unless the root's holder signs."""
    if who == "owner":
        return
    current = built.policy
    open_ = {
        name: replace(rule, require=replace(rule.require, approvals=None, fresh=None))
        for name, rule in current.environments.items()
    }
    forged = replace(current, version=current.version + 1, environments=open_)
    built.write(layout.policy(forged.version), built.sign("policy", policy_document.encode(forged), who))


RAW = {"record": _record, "approval": _approval, "adoption": _adoption, "heads": _heads, "policy": _policy}
