"""A vault with old versions and people who delete and hold, for tests of retention."""

from functools import cache

from tests.builders import Built, reference, solo
from tests.core.retention_parts import KEEPERS
from vault.actions import retaining
from vault.core import layout
from vault.core.names import Model
from vault.core.retention import Duration, Rules
from vault.core.retention_plan import ModelRules

DAY = 86_400
CHURN = Model("churn")
LAST = retaining.Wanted({"*": ModelRules(Rules(last=1))})
AT_ONCE = retaining.Wanted({"*": ModelRules(Rules(last=1), grace=Duration())})


@cache
def _three() -> Built:
    built = solo(policy=KEEPERS, seed="retention")
    for name, role in (("dan", "deleter"), ("dev", "dev-deleter"), ("hal", "holder")):
        built.add(name, role)
    for _ in range(3):
        built.publish()
    built.promote("churn:1")
    return built


def three() -> Built:
    """Build a vault with churn 1 to 3 in dev, 1 in prod, and people who delete and hold."""
    return _three().fork(forgetful=True)


def files_of(built: Built, ref: str) -> list[str]:
    """List the payloads of a version."""
    meant = reference(ref)
    assert meant.version is not None
    return [*built.store.list(layout.files(meant.model, meant.version))]


def gone(done: retaining.Retained) -> list[str]:
    """Name the versions that were removed."""
    return sorted(f"{one.model}:{one.version}" for one in done.removed)
