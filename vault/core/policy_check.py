"""Look for mistakes in a policy: what it names and does not define, what nobody can do, what is too wide.

A finding is advice to whoever writes the policy. What no client would accept
is an `error` too, but the client refuses it whether or not anybody checked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vault.core import formats, layout, names, policy
from vault.core.log_rights import may_log
from vault.core.names import Environment, Principal
from vault.core.policy import PERSON, SERVICE, EnvironmentRule, Member, Rule
from vault.core.policy_analysis import Access, empty, reach
from vault.core.policy_patterns import ALL, Patterns, common, within
from vault.core.policy_quorum import Flow, flows, self_approvers, situations
from vault.core.policy_view import View, acting

ERROR: Final = "error"
WARNING: Final = "warning"
ADVICE: Final = "advice"
SEVERITIES: Final = (ERROR, WARNING, ADVICE)
NEAR: Final = 30 * 86_400  # seconds before an expiry from which it is told
SHOWN: Final = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: how bad, a stable name for it, about what, in words, and on which line."""

    severity: str
    code: str
    subject: str
    message: str
    line: int | None


Reach = dict[Principal, dict[Access, Patterns]]


def check(view: View, *, now: int | None = None, root_expires: str | None = None) -> tuple[Finding, ...]:
    """Check a policy: errors first, then by line. `now` is in seconds since 1970, for what expires."""
    reached: Reach = {name: dict(reach(view, name)) for name in view.members}
    checks: tuple[Iterable[Finding], ...] = (
        _names(view),
        _members(view),
        _roles(view),
        _promotions(view),
        _environments(view, reached),
        _approvals(acting(view)),
        _broad(view, reached),
        _expiries(view, now, root_expires),
    )
    found = dict.fromkeys(finding for group in checks for finding in group)
    return tuple(sorted(found, key=lambda entry: (SEVERITIES.index(entry.severity), entry.line or 0)))


def _some(entries: Iterable[str]) -> str:
    """Write some names, and how many more there are."""
    listed = sorted(entries)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


# --- what a client refuses: names that nothing defines ---


def _names(view: View) -> Iterator[Finding]:
    for member in view.members.values():
        line = view.line("principal", member.name)
        yield from _member_names(view, member, line)
    for role, rules in view.roles.items():
        for number, rule in enumerate(rules):
            used = [*rule.environments, *(place for place in (rule.source, rule.target) if place)]
            for place in dict.fromkeys(used):
                if place not in view.environments:
                    line = view.line("role", role, str(number))
                    yield Finding(
                        ERROR, "unknown-environment", role, f"there is no environment {place}", line
                    )
    for entry in view.environments.values():
        approvals = entry.require.approvals
        line = view.line("environment", entry.name, "approvals")
        if approvals is not None and approvals.role not in view.roles:
            message = f"approvals are asked of the role {approvals.role}, which is not defined"
            yield Finding(ERROR, "unknown-role", entry.name, message, line)
        if approvals is not None and approvals.threshold < 1:
            yield Finding(ERROR, "no-threshold", entry.name, "a threshold is at least 1", line)
        if entry.require.max_age_days == 0:
            line = view.line("environment", entry.name, "max_age_days")
            yield Finding(ERROR, "no-age", entry.name, "max_age_days is at least 1", line)


def _member_names(view: View, member: Member, line: int | None) -> Iterator[Finding]:
    if member.name == layout.RECOVERY:
        yield Finding(
            ERROR, "reserved-name", member.name, "this name is kept for recovery keys; choose another", line
        )
    for role in member.roles:
        if role not in view.roles:
            yield Finding(ERROR, "unknown-role", member.name, f"there is no role {role}", line)
    for owner in member.owners:
        known = view.members.get(owner)
        if known is None:
            yield Finding(ERROR, "unknown-owner", member.name, f"there is no principal {owner}", line)
        elif known.kind != PERSON:
            message = f"its owner {owner} is a service; owners are persons"
            yield Finding(ERROR, "owner-no-person", member.name, message, line)
    if member.kind == SERVICE and not member.owners:
        message = "a service names the persons who answer for it: owners"
        yield Finding(ERROR, "no-owners", member.name, message, line)
    if member.kind == PERSON and member.owners:
        yield Finding(ERROR, "owned-person", member.name, "a person has no owners", line)


# --- principals and roles ---


def _members(view: View) -> Iterator[Finding]:
    for member in view.members.values():
        line = view.line("principal", member.name)
        if not member.roles:
            yield Finding(
                WARNING, "no-roles", member.name, "has no role, so that nothing is allowed to it", line
            )
        for role in member.roles:
            owns = any(rule.own for rule in view.roles.get(role, ()))
            if owns and not member.models:
                message = f"role {role} is about the principal's own models, and none are listed: models"
                yield Finding(WARNING, "no-own-models", member.name, message, line)
        if view.signed and all(key.revoked or key.until is not None for key in member.keys):
            yield Finding(WARNING, "no-keys", member.name, "has no key that counts", line)
    if not view.signed and "owner" not in view.members:
        message = "there is no principal `owner`, so that `mvault init` cannot start with this policy"
        yield Finding(ADVICE, "no-owner", view.file, message, None)


def _roles(view: View) -> Iterator[Finding]:
    held = {role for member in view.members.values() for role in member.roles}
    for role, rules in view.roles.items():
        line = view.line("role", role)
        if role not in held:
            yield Finding(ADVICE, "unused-role", role, "nobody has this role", line)
        if not rules:
            yield Finding(WARNING, "empty-role", role, "it has no rules, so that it allows nothing", line)
        for number, rule in enumerate(rules):
            at = view.line("role", role, str(number))
            if empty(rule):
                message = "a rule lacks actions, env or models, so that it allows nothing"
                yield Finding(WARNING, "empty-rule", role, message, at)


def _promotions(view: View) -> Iterator[Finding]:
    """A promotion hands on keys, which only somebody who may load has: the role must allow both."""
    for role, rules in view.roles.items():
        for number, rule in enumerate(rules):
            if rule.source is None:
                continue
            loaded = frozenset(
                pattern
                for other in rules
                if "load" in other.actions
                and rule.source in other.environments
                and (rule.own or not other.own)
                for pattern in _models(other)
            )
            lacking = [entry for entry in _models(rule) if not within(entry, loaded)]
            if lacking:
                yield Finding(
                    ERROR,
                    "promote-without-load",
                    role,
                    f"it may promote from {rule.source} what it may not load there "
                    f"({_some('every model' if entry == '*' else entry for entry in lacking)}): "
                    "add `load` to the role",
                    view.line("role", role, str(number)),
                )


def _models(rule: Rule) -> Patterns:
    return ALL if rule.models is None else frozenset(rule.models)


# --- environments ---


def _environments(view: View, reached: Reach) -> Iterator[Finding]:
    for rule in view.environments.values():
        name = rule.name
        line = view.line("environment", name)
        yield from _formats(view, name, rule.formats)
        tested = any(access.action == "test" for models in reached.values() for access in models)
        if rule.require.load_test and not tested:
            message = "it requires a load test, and nobody may `test`: nothing can be loaded there"
            yield Finding(WARNING, "no-tester", name, message, view.line("environment", name, "load_test"))
        yield from _log(view, rule)
        doing = {
            access.action for models in reached.values() for access in models if access.environment == name
        }
        entered = "promote" in doing or ("publish" in doing and rule.require.none)
        if not entered:
            message = "nobody may promote to it" + (
                ", and what is published there needs a promotion" if "publish" in doing else ""
            )
            yield Finding(WARNING, "no-way-in", name, f"{message}: nothing can ever be used there", line)
        if "load" not in doing:
            yield Finding(WARNING, "no-reader", name, "nobody may load there", line)
        attested = any("*" in models.get(Access("attest", name), ()) for models in reached.values())
        if rule.require.fresh is not None and not attested:
            message = f"it requires fresh heads ({rule.require.fresh}), and nobody may `attest` all of it"
            yield Finding(WARNING, "no-attester", name, message, view.line("environment", name, "fresh"))
        if "promote" in doing and not doing & {"withdraw", "approve"}:
            message = "only who may promote can withdraw there: nobody has `withdraw`"
            yield Finding(ADVICE, "no-withdrawal", name, message, line)


def _formats(view: View, name: Environment, allowed: tuple[str, ...]) -> Iterator[Finding]:
    line = view.line("environment", name, "formats")
    if not allowed:
        yield Finding(
            WARNING, "no-formats", name, "it allows no format, so that nothing can be loaded there", line
        )
    if len(set(allowed)) != len(allowed):
        yield Finding(ERROR, "repeated-format", name, "a format is listed twice", line)
    unknown = [entry for entry in allowed if entry not in formats.FORMATS]
    if unknown:
        message = f"no such format: {_some(unknown)}; known are {', '.join(sorted(formats.FORMATS))}"
        yield Finding(WARNING, "unknown-format", name, message, line)
    programs = [entry for entry in allowed if entry in formats.FORMATS and entry not in formats.CODE_FREE]
    if programs:
        message = f"{_some(programs)} can run code when loaded; each loader needs an allowance of its own"
        yield Finding(WARNING, "program-format", name, message, line)


# --- approvals ---


def _log(view: View, rule: EnvironmentRule) -> Iterator[Finding]:
    """Find what an environment wants of its log and cannot have."""
    name, wanted = rule.name, rule.require.witnesses
    if rule.require.log is None:
        return
    line = view.line("environment", name, "log")
    writers = [who for who in view.members if may_log(view, who, "log", name)]
    promoters = [who for who in view.members if any(policy.grants(view, who, "promote", name))]
    silent = [who for who in promoters if who not in writers]
    if silent:
        message = f"{_some(silent)} may promote to it and not `log` there, so that nothing of theirs counts"
        yield Finding(WARNING, "promoter-without-log", name, message, line)
    if wanted is None:
        return
    if wanted < 1:
        yield Finding(ERROR, "no-threshold", name, "witnesses is at least 1", line)
    witnesses = [who for who in view.members if may_log(view, who, "witness", name)]
    behind = {who: policy.persons_behind(view, who) for who in {*writers, *witnesses}}
    short = [
        writer
        for writer in writers
        if sum(who != writer and not behind[who] & behind[writer] for who in witnesses) < wanted
    ]
    if short or not writers:
        message = f"{wanted} different witnesses are asked for, and fewer are independent of {_some(short)}"
        severity = ERROR if len(short) == len(writers) else WARNING
        yield Finding(severity, "witnesses-unreachable", name, message, line)


def _approvals(view: View) -> Iterator[Finding]:
    for rule in view.environments.values():
        asked = rule.require.approvals
        if asked is None or asked.role not in view.roles:
            continue
        name, line = rule.name, view.line("environment", rule.name, "approvals")
        holders = [member for member in view.members.values() if asked.role in member.roles]
        services = [member.name for member in holders if member.kind == SERVICE]
        if services:
            message = f"{_some(services)} cannot approve: services never count toward a threshold"
            yield Finding(WARNING, "service-approver", name, message, line)
        able = [who for who in view.members if any(policy.grants(view, who, "approve", name))]
        silent = [who for who in able if asked.role not in view.members[who].roles]
        if silent:
            message = f"approvals by {_some(silent)} do not count: only those of role {asked.role} do"
            yield Finding(WARNING, "approver-without-role", name, message, line)
        if not any(
            "approve" in entry.actions and name in entry.environments for entry in view.roles[asked.role]
        ):
            message = f"the role {asked.role} does not allow `approve` in {name}"
            yield Finding(WARNING, "role-without-approve", name, message, line)
        ways = situations(view, name, asked)
        yield from _reachable(name, asked.threshold, tuple(flows(view, asked, ways)), line)
        for person, through in self_approvers(view, asked, ways).items():
            by = f", through {_some(through)}" if through else ""
            message = f"{person} alone can publish, approve and promote what is used there{by}"
            yield Finding(ERROR, "one-person-quorum", name, message, line)
        if "publisher" not in asked.distinct_from:
            message = "a publisher's own approval counts; to ask for others: distinct_from: [publisher]"
            yield Finding(WARNING, "publisher-approves", name, message, line)


def _reachable(
    name: Environment, threshold: int, found: tuple[Flow, ...], line: int | None
) -> Iterator[Finding]:
    short = [flow for flow in found if flow.votes < threshold]
    if not short:
        return
    if len(short) == len(found):
        most = max(flow.votes for flow in found)
        message = f"it asks for {threshold} approvals, and at most {most} can be given, so nothing enters it"
        yield Finding(ERROR, "threshold-unreachable", name, message, line)
        return
    for publisher in dict.fromkeys(flow.publisher for flow in short):
        mine = [flow for flow in short if flow.publisher == publisher]
        some = len(mine) < sum(flow.publisher == publisher for flow in found)
        message = (
            f"what {publisher} publishes{f', such as {mine[0].models},' if some else ''} cannot enter it: "
            f"{threshold} approvals are asked for, {max(flow.votes for flow in mine)} can be given"
        )
        yield Finding(WARNING, "threshold-unreachable-for", name, message, line)


# --- too wide ---


def _broad(view: View, reached: Reach) -> Iterator[Finding]:
    for role, rules in view.roles.items():
        for number, rule in enumerate(rules):
            if rule.models is not None and "*" in rule.models:
                message = '"*" means every model, also those to come; leave `models` out, or list them'
                yield Finding(ADVICE, "every-model", role, message, view.line("role", role, str(number)))
    for member in view.members.values():
        if member.kind != SERVICE:
            continue
        wide = {access.action for access, models in reached[member.name].items() if "*" in models}
        line = view.line("principal", member.name)
        signs = wide & {"publish", "promote", "rotate", "adopt"}
        if signs:
            message = f"this service may {_some(signs)} every model; list its models"
            yield Finding(WARNING, "wide-service", member.name, message, line)
        elif "load" in wide:
            yield Finding(
                ADVICE, "wide-loader", member.name, "this service may load every model; list its models", line
            )
    yield from _one_person_releases(view, reached)


def _one_person_releases(view: View, reached: Reach) -> Iterator[Finding]:
    """Tell of last stages that one of several people fills alone: publishing and promoting, no approval."""
    people = [member.name for member in view.members.values() if member.kind == PERSON]
    further = {access.source for models in reached.values() for access in models}
    for rule in view.environments.values():
        if len(people) < 2 or rule.require.approvals is not None or rule.name in further:
            continue
        alone = [name for name in people if _fills(reached[name], rule.name)]
        if alone:
            message = f"{_some(alone)} can publish and promote there alone; ask for approvals of others"
            yield Finding(
                WARNING, "one-person-release", rule.name, message, view.line("environment", rule.name)
            )


def _fills(reached: dict[Access, Patterns], name: Environment) -> bool:
    published = [models for access, models in reached.items() if access.action == "publish"]
    return any(
        common(models, promoted)
        for access, promoted in reached.items()
        if access.action == "promote" and access.environment == name
        for models in published
    )


# --- time ---


def _expiries(view: View, now: int | None, root_expires: str | None) -> Iterator[Finding]:
    if now is None:
        return
    for what, expires in (("root", root_expires), ("policy", view.expires)):
        if expires is None:
            continue
        left = names.timestamp(expires) - now
        day = names.day_text(expires)
        if left <= 0:
            message = f"the {what} expired on {day}: nothing can be loaded until its holders renew it"
            yield Finding(ERROR, "expired", what, message, None)
        elif left < NEAR:
            message = f"the {what} expires on {day}, in {left // 86_400} days: mvault renew"
            yield Finding(WARNING, "expires-soon", what, message, None)
