"""Read and write the policy document (docs/format.md, "Policy"); decisions are in `policy`.

Which of several is in force is found in `policy_succession`.
"""

import base64
from collections.abc import Mapping
from typing import Final

from vault.core import ed25519, envelope, key_services, layout, limits, names, strict_json
from vault.core.fields import Fields, base64_bytes, malformed, one_of, plain, time
from vault.core.key_services import KeyServiceId
from vault.core.policy import (
    ACTIONS,
    KIND,
    PERSON,
    SERVICE,
    ApprovalRule,
    ChannelHead,
    EnvironmentRule,
    Epoch,
    Key,
    LogHead,
    Member,
    Policy,
    PolicyId,
    Recipient,
    Requirements,
    Rule,
    pattern,
)
from vault.core.strict_json import JSONValue
from vault.core.trust import TrustedRoot, require_threshold
from vault.errors import DigestMismatch

RECIPIENT_KINDS: Final = ("mlkem768x25519", "x25519")
FRESHNESS: Final = ("refuse", "stale", "warn")
WITNESSED: Final = "witnessed"
LOG_MODES: Final = ("unwitnessed", WITNESSED)
HASHED: Final = ("host", "subject")
DISTINCT: Final = ("promoter", "publisher")


def encode(policy: Policy) -> bytes:
    """Write the payload of a policy."""
    return strict_json.encode(
        {
            "continues": _continues_value(policy.continues),
            "created": policy.created,
            "environments": {name: _environment_value(entry) for name, entry in policy.environments.items()},
            "era": policy.era,
            "expires": policy.expires,
            "prev": policy.prev,
            "principals": {name: _member_value(entry) for name, entry in policy.members.items()},
            "recovery": [_recipient_value(entry) for entry in policy.recovery],
            "roles": {name: [_rule_value(rule) for rule in rules] for name, rules in policy.roles.items()},
            "root": {"digest": policy.root_digest, "version": policy.root_version},
            "vault": policy.vault,
            "version": policy.version,
        }
    )


def _continues_value(heads: Mapping[str, ChannelHead] | None) -> JSONValue:
    if heads is None:
        return None
    return {key: {"digest": head.digest, "seq": head.seq} for key, head in heads.items()}


def _recipient_value(recipient: Recipient) -> dict[str, JSONValue]:
    return {"digest": recipient.digest, "kind": recipient.kind}


def _member_value(member: Member) -> dict[str, JSONValue]:
    return {
        "keys": [
            {
                "public": base64.b64encode(key.public).decode("ascii"),
                "revoked": key.revoked,
                "until": log_head_value(key.until),
            }
            for key in member.keys
        ],
        "kind": member.kind,
        "models": None if member.models is None else list(member.models),
        "owners": list(member.owners),
        "recipients": [_recipient_value(entry) for entry in member.recipients],
        "roles": list(member.roles),
    }


def log_head_value(head: LogHead | None) -> dict[str, JSONValue] | None:
    """Write a log's head; `read_log_head` reads it back."""
    return None if head is None else {"origin": head.origin, "root": head.root, "size": head.size}


def _rule_value(rule: Rule) -> dict[str, JSONValue]:
    return {
        "actions": list(rule.actions),
        "env": list(rule.environments),
        "from": rule.source,
        "models": None if rule.models is None else list(rule.models),
        "own": rule.own,
        "to": rule.target,
    }


def _environment_value(entry: EnvironmentRule) -> dict[str, JSONValue]:
    require = entry.require
    approvals: JSONValue = None
    if require.approvals is not None:
        approvals = {
            "distinct_from": list(require.approvals.distinct_from),
            "role": require.approvals.role,
            "threshold": require.approvals.threshold,
        }
    value: dict[str, JSONValue] = {
        "epochs": [
            {"number": epoch.number, "recipient": _recipient_value(epoch.recipient)} for epoch in entry.epochs
        ],
        "formats": list(entry.formats),
        "hashed": list(entry.hashed),
        "require": {
            "approvals": approvals,
            "audit": require.audit,
            "fresh": require.fresh,
            "libraries": require.libraries,
            "load_test": require.load_test,
            "log": require.log,
            "max_age_days": require.max_age_days,
            "witnesses": require.witnesses,
        },
    }
    if entry.key_services:  # not there where there are none, as in every policy before there were any
        value["key_services"] = [{"key": held.key, "kind": held.kind} for held in entry.key_services]
    return value


def parse(payload: bytes, subject: str) -> Policy:
    """Parse the payload of a policy, after its signatures were checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape; a name is
            used that the policy does not define; a key is weak or has two holders.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    root_version, root_digest = fields.object("root", _root)
    policy = Policy(
        vault=fields.text("vault", names.digest),
        root_version=root_version,
        root_digest=root_digest,
        era=fields.integer("era"),
        version=fields.integer("version", 1),
        prev=fields.optional("prev", names.digest),
        created=fields.text("created", time),
        expires=fields.optional("expires", time),
        members=_members(fields.mapping("principals", names.principal, limits.PRINCIPALS), subject),
        roles=_roles(fields.mapping("roles", names.principal, limits.ROLES), subject),
        environments=_environments(
            fields.mapping("environments", names.environment, limits.ENVIRONMENTS), subject
        ),
        recovery=fields.objects("recovery", _recipient, limits.OWNERS),
        continues=_continues(fields, subject),
    )
    fields.done()
    if policy.era == 0 and policy.continues is not None:
        raise malformed(subject, "the first era continues from nothing")
    _check_names(policy, subject)
    return policy


def _continues(fields: Fields, what: str) -> dict[str, ChannelHead] | None:
    """Read where an era continues: environment/slot/model → number and digest of a channel record."""
    value = fields.raw("continues")
    if value is None:
        return None
    heads = Fields({"continues": value}, what).mapping("continues", _channel_key, limits.MEMORY_ENTRIES)
    return {key: _channel_head(Fields(value, f"{what}: {key}")) for key, value in heads.items()}


def _channel_key(text: str) -> str:
    environment, slot, model = [*text.split("/", 2), "", ""][:3]
    return f"{names.environment(environment)}/{names.slot(slot)}/{names.model(model)}"


def _channel_head(fields: Fields) -> ChannelHead:
    head = ChannelHead(fields.integer("seq", 1), fields.text("digest", names.digest))
    fields.done()
    return head


def _root(fields: Fields) -> tuple[int, names.Digest]:
    return fields.integer("version", 1), fields.text("digest", names.digest)


def _members(values: Mapping[names.Principal, JSONValue], what: str) -> dict[names.Principal, Member]:
    found = {}
    for name, value in values.items():
        fields = Fields(value, f"{what}: {name}")
        models = fields.raw("models")
        kind = fields.text("kind", one_of(PERSON, SERVICE))
        found[name] = Member(
            name=name,
            kind=kind,
            owners=fields.texts("owners", names.principal, limits.OWNERS),
            roles=fields.texts("roles", names.principal, limits.ROLES),
            models=None if models is None else _patterns(models, f"{what}: {name}"),
            keys=fields.objects("keys", _key, limits.KEYS_PER_PRINCIPAL),
            recipients=fields.objects("recipients", _recipient, limits.KEYS_PER_PRINCIPAL),
        )
        fields.done()
    return found


def _patterns(value: JSONValue, what: str) -> tuple[str, ...]:
    return Fields({"models": value}, what).texts("models", pattern, limits.PATTERNS)


def _key(fields: Fields) -> Key:
    public = fields.text("public", base64_bytes)
    ed25519.PublicKey.parse(public)
    return Key(
        public=public,
        key_id=names.Digest(ed25519.key_id(public)),
        revoked=fields.boolean("revoked"),
        until=fields.optional_object("until", read_log_head),
    )


def read_log_head(fields: Fields) -> LogHead:
    """Read a log's head.

    Raises:
        Malformed: a field is missing or of another shape.
    """
    return LogHead(fields.text("origin", plain), fields.integer("size"), fields.text("root", names.digest))


def _recipient(fields: Fields) -> Recipient:
    return Recipient(fields.text("kind", one_of(*RECIPIENT_KINDS)), fields.text("digest", names.digest))


def _roles(values: Mapping[names.Principal, JSONValue], what: str) -> dict[names.Principal, tuple[Rule, ...]]:
    return {
        name: Fields({"rules": value}, f"{what}: role {name}").objects("rules", _rule, limits.RULES_PER_ROLE)
        for name, value in values.items()
    }


def _rule(fields: Fields) -> Rule:
    models = fields.raw("models")
    rule = Rule(
        actions=fields.texts("actions", one_of(*ACTIONS), len(ACTIONS)),
        environments=fields.texts("env", names.environment, limits.ENVIRONMENTS),
        source=fields.optional("from", names.environment),
        target=fields.optional("to", names.environment),
        models=None if models is None else _patterns(models, fields.what),
        own=fields.boolean("own"),
    )
    promotes = "promote" in rule.actions
    if promotes != (rule.source is not None) or promotes != (rule.target is not None):
        raise malformed(fields.what, "'promote', and only it, has 'from' and 'to'")
    return rule


def _environments(
    values: Mapping[names.Environment, JSONValue], what: str
) -> dict[names.Environment, EnvironmentRule]:
    found = {}
    for name, value in values.items():
        fields = Fields(value, f"{what}: environment {name}")
        epochs = fields.objects("epochs", _epoch, limits.EPOCHS)
        found[name] = EnvironmentRule(
            name=name,
            epochs=epochs,
            formats=fields.texts("formats", plain, limits.ENVIRONMENTS),
            require=fields.object("require", _requirements),
            hashed=fields.texts("hashed", one_of(*HASHED), len(HASHED)),
            key_services=_key_services(fields),
        )
        fields.done()
        if [epoch.number for epoch in epochs] != sorted({epoch.number for epoch in epochs}):
            raise malformed(fields.what, "its epochs ascend")
    return found


def _key_services(fields: Fields) -> tuple[KeyServiceId, ...]:
    if not fields.has("key_services"):
        return ()
    found = fields.objects("key_services", _key_service, limits.KEY_SERVICES)
    if not found or len(set(found)) != len(found):
        raise malformed(fields.what, "its key services are different, and at least one where they are named")
    return found


def _key_service(fields: Fields) -> KeyServiceId:
    return key_services.identify(fields.text("kind", str), fields.text("key", str))


def _epoch(fields: Fields) -> Epoch:
    return Epoch(fields.integer("number", 1), fields.object("recipient", _recipient))


def _requirements(fields: Fields) -> Requirements:
    age = fields.raw("max_age_days")
    witnesses = fields.raw("witnesses")
    asked = Requirements(
        approvals=fields.optional_object("approvals", _approvals),
        audit=fields.boolean("audit"),
        fresh=fields.optional("fresh", one_of(*FRESHNESS)),
        libraries=fields.boolean("libraries"),
        load_test=fields.boolean("load_test"),
        log=fields.optional("log", one_of(*LOG_MODES)),
        max_age_days=None if age is None else Fields({"days": age}, fields.what).integer("days", 1, 36_500),
        witnesses=None
        if witnesses is None
        else Fields({"witnesses": witnesses}, fields.what).integer("witnesses", 1, limits.PRINCIPALS),
    )
    if (asked.witnesses is None) != (asked.log != WITNESSED):
        raise malformed(fields.what, "a witnessed log, and only it, says how many witnesses it takes")
    return asked


def _approvals(fields: Fields) -> ApprovalRule:
    return ApprovalRule(
        role=fields.text("role", names.principal),
        threshold=fields.integer("threshold", 1, limits.PRINCIPALS),
        distinct_from=fields.texts("distinct_from", one_of(*DISTINCT), len(DISTINCT)),
    )


def _check_names(policy: Policy, what: str) -> None:
    """Refuse names that nothing defines, keys with two holders, and owners that are no persons."""
    held: set[names.Digest] = set()
    if layout.RECOVERY in policy.members:
        raise malformed(what, f"the name {layout.RECOVERY} is kept for recovery keys")
    for member in policy.members.values():
        mine = {key.key_id for key in member.keys}
        if len(mine) != len(member.keys) or mine & held:
            raise malformed(what, f"a key of {member.name} is listed twice")
        held |= mine
        if not set(member.roles) <= set(policy.roles):
            raise malformed(what, f"{member.name} has a role that is not defined")
        owners = [policy.members.get(owner) for owner in member.owners]
        if any(owner is None or owner.kind != PERSON for owner in owners):
            raise malformed(what, f"the owners of {member.name} are persons in this policy")
        if (member.kind == SERVICE) != bool(owners):
            raise malformed(what, f"services, and only they, have owners: {member.name}")
    for name, rules in policy.roles.items():
        for rule in rules:
            used = {*rule.environments, *(place for place in (rule.source, rule.target) if place is not None)}
            if not used <= set(policy.environments):
                raise malformed(what, f"role {name} names an environment that is not defined")
    for entry in policy.environments.values():
        if entry.require.approvals is not None and entry.require.approvals.role not in policy.roles:
            raise malformed(what, f"{entry.name} asks for approvals by a role that is not defined")


def verify(trusted: TrustedRoot, number: int, data: bytes) -> tuple[Policy, PolicyId]:
    """Verify one policy: signed by the root's threshold, of this vault, under its own number.

    Raises:
        Refused: any of it does not hold.
    """
    subject = f"policy {number}"
    sealed = envelope.parse(data, kind=KIND, subject=subject)
    require_threshold(trusted.root, sealed, subject)
    policy = parse(sealed.payload, subject)
    if policy.version != number or policy.vault != trusted.vault:
        raise DigestMismatch(
            f"{subject} is genuine but belongs elsewhere: it is policy {policy.version} of vault "
            f"{policy.vault[:12]}….",
            code="misplaced",
            subject=subject,
        )
    return policy, PolicyId(policy.era, policy.version, sealed.digest)
