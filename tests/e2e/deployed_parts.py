"""A small vault with a model in prod, and a service that serves it: what tests of deployments share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vault
from tests.variables import variables
from vault.actions import founding, opening
from vault.actions.init import Founders, Joining
from vault.core.names import Principal
from vault.vault import Vault

POLICY = """
roles:
  owner:
    allow:
      - {actions: [publish], env: [dev]}
      - {actions: [load, pull, approve, withdraw], env: [dev, prod]}
      - {actions: [promote], from: dev, to: prod}
      - {actions: [audit.read, log]}
  server: {allow: [{actions: [load, pull], env: [prod], models: own}]}
environments:
  dev: {formats: [onnx, skops, json, npz]}
  prod: {formats: [onnx, skops, json, npz]}
principals:
  owner: {kind: person, roles: [owner]}
  web: {kind: service, owners: [owner], roles: [server], models: ["*"]}
"""


@dataclass(frozen=True)
class Deployed:
    """A folder with a vault, the service's identity and its trust file."""

    folder: Path

    @property
    def vault(self) -> Path:
        return self.folder / "models"

    @property
    def identity(self) -> Path:
        return self.folder / "web.json"

    @property
    def trust(self) -> Path:
        return self.folder / "trust.json"

    def settings(self) -> dict[str, str]:
        """Give the three settings of the service."""
        return {
            "MVAULT_VAULT": str(self.vault),
            "MVAULT_IDENTITY": str(self.identity),
            "MVAULT_TRUST": str(self.trust),
        }

    @contextmanager
    def as_owner(self) -> Iterator[Vault]:
        with variables(_owner(self.folder)):
            yield vault.open(self.vault)

    def release(self, seed: int, *, promote: bool = True) -> tuple[str, Any]:
        """Train, save and promote a model; give its reference, and what it predicts on `ROWS`."""
        from sklearn.linear_model import LogisticRegression

        rows, labels = data(seed)
        model = LogisticRegression().fit(rows, labels)
        with self.as_owner() as opened:
            ref = str(opened.save_model("churn", model, sample_input=rows[:100], format="onnx"))
            if promote:
                opened.promote(ref, env="prod")
        return ref, model.predict(ROWS).tolist()


def data(seed: int) -> tuple[Any, Any]:
    """Give rows and labels; an odd seed turns the labels round, so that versions predict otherwise."""
    from sklearn.datasets import make_classification

    rows, labels = make_classification(300, 6, random_state=4)
    return rows, (labels + seed) % 2


ROWS = data(0)[0][:5].tolist()


def _owner(folder: Path) -> dict[str, str]:
    return {f"MVAULT_{name}_DIR": str(folder / "owner" / name.lower()) for name in ("CONFIG", "STATE")}


def deploy(folder: Path) -> Deployed:
    """Found the vault with its service; release nothing yet."""
    folder.mkdir(parents=True, exist_ok=True)
    deployed = Deployed(folder)
    (folder / "policy.yaml").write_text(POLICY)
    with variables(_owner(folder)):
        made = founding.new_identity(opening.gather({}), deployed.identity, "web", "x25519", protect=False)
        keys = {Principal("web"): [Joining(made.name, made.public, made.recipient)]}
        opened = vault.init(
            deployed.vault,
            recipient="x25519",
            no_passphrase=True,
            policy=folder / "policy.yaml",
            founders=Founders(keys=keys),
        )
        deployed.trust.write_bytes(opened.export_trust())
    return deployed
