"""A team of tests.builders at work: what tests of its releases share."""

from collections.abc import Callable
from dataclasses import replace

from tests.attacks.vault_mixing import outcome
from tests.builders import Built, team
from vault.core import names
from vault.core.names import Principal
from vault.core.policy import Policy, Rule
from vault.settings import Settings
from vault.vault import Vault

ONE, TWO, THREE = ({"model.json": b'{"w":%d}' % number} for number in (1, 2, 3))


def as_(built: Built, who: str, env: str = "dev") -> Vault:
    """Open the vault as one of the team."""
    return Vault(built.session(who, env=env), Settings())


def released(*versions: dict[str, bytes]) -> Built:
    """Give a vault whose prod used these versions, one after the other."""
    built = team()
    for content in versions:
        let_in(built, str(built.publish(content, who="dora")))
    return built


def let_in(built: Built, ref: str, slot: str = "main") -> None:
    for who in ("ann", "bob"):
        as_(built, who).approve(ref, env="prod")
    as_(built, "rex").promote(ref, env="prod", slot=slot)


def in_prod(built: Built, ref: str = "churn@prod") -> str | dict[str, bytes]:
    return outcome(built, ref, who="server", env="prod")


def with_rule(role: str, *actions: str, env: str = "prod") -> Callable[[Policy], Policy]:
    """Let a role, new or not, do more."""
    rule = Rule(actions, (names.environment(env),), None, None, None, own=False)

    def change(before: Policy) -> Policy:
        name = Principal(role)
        return replace(before, roles={**before.roles, name: (*before.roles.get(name, ()), rule)})

    return change


def npz() -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.savez(file, weights=np.arange(3))
    return file.getvalue()


def stewarded(*lost: Callable[[Policy], Policy]) -> Built:
    """Give a vault whose churn:1 by dora is in prod, and that has a steward, eve; then dora is lost."""
    built = released(ONE)
    built.amend(with_rule("steward", "adopt", "load", env="dev"))
    built.add("eve", "steward")
    for change in lost:
        built.amend(change)
    return built
