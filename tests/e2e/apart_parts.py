"""A team's vault whose staging and prod have stores of their own, in memory: what tests of that share."""

from dataclasses import dataclass, field
from functools import cache

from tests.builders import PROD, Built, team
from vault.actions.session import Session
from vault.core.names import Environment
from vault.errors import VaultError
from vault.ports import Store
from vault.settings import Settings
from vault.storage.apart import ApartStore
from vault.storage.apart_names import OWN, place_of
from vault.storage.memory import MemoryStore
from vault.vault import Vault

STAGING = Environment("staging")
BIG = {"model.json": b"[" + b"1," * 1_500_000 + b"1]", "features.json": b'["age"]'}  # several units


@dataclass(slots=True)
class Apart:
    """The vault of `tests.builders.team` in three stores; `built.store` is the main one."""

    built: Built
    prod: MemoryStore = field(default_factory=MemoryStore)
    staging: MemoryStore = field(default_factory=MemoryStore)

    @property
    def store(self) -> ApartStore:
        """All three, as whoever promotes sees them."""
        return self.over()

    def over(self, *, main: Store | None = None, prod: Store | None = None) -> ApartStore:
        """Put the three together, with another in the place of one."""
        return ApartStore(main or self.built.store, {STAGING: self.staging, PROD: prod or self.prod})

    def fork(self) -> "Apart":
        """Give a copy that may be damaged; clients remember what they have seen."""
        return Apart(
            self.built.fork(), MemoryStore(dict(self.prod.objects)), MemoryStore(dict(self.staging.objects))
        )

    def session(self, who: str, *, env: str = "dev", store: Store | None = None) -> Session:
        """Open all three as somebody, or one alone."""
        return self.built.session(who, env=env, store=store or self.store)

    def as_(self, who: str, *, env: str = "dev", store: Store | None = None) -> Vault:
        """Open the vault as somebody."""
        return Vault(self.session(who, env=env, store=store), Settings())

    def publish(self, content: dict[str, bytes] | None = None) -> str:
        """Publish as who sees the main store alone."""
        return str(self.built.publish(content, who="dora"))

    def let_in(self, ref: str, *, store: Store | None = None) -> None:
        """Bring a version from dev over staging to prod."""
        self.as_("rex", store=store).promote(ref, env="staging")
        for who in ("ann", "bob"):
            self.as_(who, store=store).approve(ref, env="prod")
        self.as_("rex", store=store).promote(ref, env="prod")

    def served(self, ref: str = "churn@prod", *, who: str = "server") -> str | dict[str, bytes]:
        """Load with prod's store and nothing else; give the files, or the code of the refusal."""
        try:
            return self.built.read(ref, who=who, session=self.session(who, env="prod", store=self.prod))
        except VaultError as error:
            return error.code


def split(built: Built) -> Apart:
    """Take a vault in one store apart: what is of staging or prod alone moves, the rest is copied."""
    apart = Apart(built)
    for environment, store in ((STAGING, apart.staging), (PROD, apart.prod)):
        for name in list(built.store.objects):
            place = place_of(name)
            if place.kind == OWN and place.environment == environment:
                store.objects[name] = built.store.objects.pop(name)
        apart.store.mend(environment)
    return apart


@cache
def _released() -> Apart:
    apart = split(team())
    apart.let_in(apart.publish())
    return apart


def empty() -> Apart:
    """Give the vault without any model."""
    return split(team())


def released() -> Apart:
    """Give the vault with churn:1 in prod."""
    return _released().fork()
