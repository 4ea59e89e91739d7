"""The attacker of the logs: may write everything in the storage, and has stolen the owner's key.

So what is forged here is signed as it must be. An auditor who has seen the
logs before verifies again; `code` is that of the finding that must come of it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vault.actions import log_writers
from vault.audit.writing import LogWriter
from vault.core import log_commit, log_keys, log_names, names
from vault.demo.stage import LOADER, Stage

_PROD: Final = log_names.environment_log(names.environment("prod"))


@dataclass(frozen=True, slots=True)
class LogAttack:
    """One attack on the logs: what is done to them, and the code of the finding; empty if it does no harm."""

    title: str
    code: str
    apply: Callable[[Stage], None]


def _commits(stage: Stage) -> list[str]:
    return stage.storage.names(_PROD.commits)


def _rewrite(stage: Stage) -> None:
    first = _commits(stage)[0]
    data = stage.storage.get(first)
    (entry,) = log_commit.parse(data, "the first commit").entries
    forged = entry.replace(b'"actor":"owner"', b'"actor":"other"')
    stage.storage.put(first, data.replace(entry, forged))


def _cut(stage: Stage) -> None:
    stage.storage.delete(_commits(stage)[-1])


def _fork(stage: Stage) -> None:
    """Sign another end of the log, as whoever has its writer's key can: prod got another version."""
    newest = _commits(stage)[-1]
    (entry,) = log_commit.parse(stage.storage.get(newest), "the newest commit").entries
    forged = json.dumps(json.loads(entry) | {"version": "1"}, separators=(",", ":"), sort_keys=True)
    stage.storage.delete(newest)
    session = stage.owner.audit.session
    origin = log_names.origin(session.pin, _PROD)
    key = session.identity.derive(log_keys.info(log_keys.LOG, origin))
    certificate = log_writers.certificate_of(session, origin, log_keys.LOG, key.public)
    LogWriter(stage.storage, _PROD, session.trust().policy, key, certificate).append([forged.encode()])


def _delete_access_log(stage: Stage) -> None:
    stage.storage.remove(f"{log_names.LOGS}{log_names.ACCESS}/{LOADER}/")


def _squat(stage: Stage) -> None:
    number = int(_commits(stage)[-1].rpartition("/")[2]) + 1
    stage.storage.put(_PROD.commit(number), b"garbage")


ATTACKS: Final = (
    LogAttack("an entry of prod's log is rewritten", "log-inconsistent", _rewrite),
    LogAttack("its newest commit is cut off", "log-inconsistent", _cut),
    LogAttack("the owner's stolen key signs another end of it", "log-inconsistent", _fork),
    LogAttack("the log of the service's loads is deleted", "log-inconsistent", _delete_access_log),
    LogAttack("garbage takes the next commit's number", "", _squat),
)
