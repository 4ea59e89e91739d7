"""Vaults whose prod counts only what is in its log, and clients that record what they do.

    built = logged("witnessed", 1)                  # owner and ann log, wes and wim witness; see POLICY
    session = client(built, "owner")                # records go into logs, as with `vault.open`
    append(built, numbered(0, 300), who="ann")      # any entries, in the log of prod
    built.promote(ref, session=session); cosign(built, "wes")

As with `tests.builders`, `built.fork()` gives a copy that may be damaged.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tests import builders
from tests.builders import PROD, Built
from vault.actions import log_writers
from vault.actions.auditor import Auditor
from vault.actions.session import Session
from vault.audit import cosigning
from vault.audit.writing import Appended
from vault.core import log_keys, log_names
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.names import Principal
from vault.ports import Store

POLICY: Final = """
roles:
  owner:
    allow:
      - {{actions: [publish], env: [dev]}}
      - {{actions: [load, pull, approve, withdraw], env: [dev, prod]}}
      - {{actions: [promote], from: dev, to: prod}}
      - {{actions: [audit.read, log]}}
  releaser:
    allow:
      - {{actions: [load], env: [dev, prod]}}
      - {{actions: [promote], from: dev, to: prod}}
      - {{actions: [log]}}
  mute:
    allow:
      - {{actions: [load], env: [dev, prod]}}
      - {{actions: [promote], from: dev, to: prod}}
  witness: {{allow: [{{actions: [witness]}}]}}
  dev-witness: {{allow: [{{actions: [witness], env: [dev]}}]}}
  everything: {{allow: [{{actions: [witness, log]}}]}}
  loader: {{allow: [{{actions: [load], env: [prod]}}]}}
environments:
  dev: {{formats: [skops, onnx, json]}}
  prod:
    formats: [skops, onnx, json]
    require: {require}
principals:
  owner: {{kind: person, roles: [owner]}}
"""
PROD_LOG: Final = log_names.environment_log(PROD)
DEV_LOG: Final = log_names.environment_log(builders.DEV)
TRUST_LOG: Final = log_names.TRUST_LOG


@cache
def _logged(mode: str, witnesses: int) -> Built:
    require = {
        "witnessed": f"{{log: witnessed, witnesses: {witnesses}}}",
        "unwitnessed": "{log: unwitnessed}",
        "none": "{}",
    }[mode]
    built = builders.solo(policy=POLICY.format(require=require), seed=f"{mode} {witnesses}")
    built.add("ann", "releaser")
    built.add("max", "mute")
    for name in ("wes", "wim"):
        built.add(name, "witness")
    built.add("wendy", "dev-witness")
    built.add("both", "everything")
    built.add("ci-witness", "witness", kind="service", owners=("owner",))
    built.add("server", "loader", kind="service", owners=("owner",))
    return built


def logged(mode: str = "unwitnessed", witnesses: int = 1) -> Built:
    """Build a vault whose prod demands its log: `unwitnessed`, `witnessed`, or not at all (`none`)."""
    return _logged(mode, witnesses).fork()


def client(
    built: Built,
    who: str | None = "owner",
    *,
    env: str = "dev",
    store: Store | None = None,
    state: Path | None = None,
    place: str | Path | None = None,
) -> Session:
    """Open a vault as somebody whose acts are recorded; without `state`, records wait in memory."""
    session = built.session(who, env=env, store=store)
    session.audit = Auditor(place, state, host="test-host")
    return session


def append(
    built: Built,
    entries: Sequence[bytes],
    *,
    who: str = "owner",
    log: Log = PROD_LOG,
    store: Store | None = None,
) -> Appended:
    """Append entries to a log as who may write it, with what that client remembers."""
    session = built.session(who, store=store)
    done = log_writers.writer(session, log).append(entries)
    log_writers.remember(session, log, done.head)
    return done


def cosign(
    built: Built,
    who: str = "wes",
    *,
    log: Log = PROD_LOG,
    store: Store | None = None,
    known: Head | None = None,
) -> Head:
    """Cosign a log's newest checkpoint, as a witness who remembers `known`."""
    session = built.session(who, store=store)
    origin = log_names.origin(built.vault, log)
    key = built.identities[who].derive(log_keys.info(log_keys.WITNESS, origin))
    certificate = log_writers.certificate_of(session, origin, log_keys.WITNESS, key.public)
    return cosigning.cosign(
        session.store, log, built.policy, key, certificate,
        known=known, clock=lambda: built.now, remember=lambda head: None,
    )  # fmt: skip


def log_key(built: Built, who: str = "owner", log: Log = PROD_LOG, use: str = log_keys.LOG) -> bytes:
    """Give the public key of somebody for a log."""
    return built.identities[who].derive(log_keys.info(use, log_names.origin(built.vault, log))).public


def witness_name(built: Built, who: str) -> str:
    """Give the name that a witness of this vault signs under."""
    return log_names.witness_name(built.vault, Principal(who))


def log_objects(built: Built, log: Log = PROD_LOG) -> dict[str, bytes]:
    """Give everything that lies in the store of a log."""
    return {name: data for name, data in built.store.objects.items() if name.startswith(log.folder)}


def put_back(built: Built, objects: dict[str, bytes], log: Log = PROD_LOG) -> None:
    """Make the store offer exactly these objects of a log, as who can write to the store may."""
    for name in list(log_objects(built, log)):
        del built.store.objects[name]
    built.store.objects.update(objects)
