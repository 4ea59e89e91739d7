"""Versions, removals and holds for tests of retention, made by hand."""

from dataclasses import replace

from tests.builders import Built
from vault.core import holds, leftovers, names, removal
from vault.core.holds import Hold, Release
from vault.core.leftovers import Notice
from vault.core.names import Digest, Model, Version
from vault.core.removal import Removal
from vault.core.retention import Candidate
from vault.core.retention_plan import Ancestor, Known

KEEPERS = """
roles:
  owner:
    allow:
      - {actions: [publish, load, pull, adopt], env: [dev]}
      - {actions: [load, delete, hold, approve, withdraw], env: [dev, prod]}
      - {actions: [promote], from: dev, to: prod}
      - {actions: [log]}
  deleter: {allow: [{actions: [load, delete], env: [dev, prod]}]}
  dev-deleter: {allow: [{actions: [delete], env: [dev]}]}
  holder: {allow: [{actions: [hold], env: [prod]}]}
  nepse-holder: {allow: [{actions: [hold], env: [prod], models: ["nepse/*"]}]}
environments:
  dev: {formats: [json]}
  prod: {formats: [json]}
principals:
  owner: {kind: person, roles: [owner]}
"""


def digest(number: int) -> Digest:
    """Make a digest of a number."""
    return Digest(f"{number:064x}")


def known(
    subject: str,
    created: int = 0,
    *,
    parents: tuple[str, ...] = (),
    tags: str = "",
    environments: str = "",
    gone: bool = False,
    empty: bool = False,
) -> Known:
    """Describe a version `model:version`; its digest is that of its name."""
    candidate = Candidate(
        *_split(subject),
        created,
        frozenset(tags.split()),
        frozenset(environments.split()),
    )
    return Known(candidate, named(subject), tuple(map(ancestor, parents)), gone=gone, empty=empty)


def ancestor(subject: str) -> Ancestor:
    """Name a version as a parent."""
    return Ancestor(*_split(subject), named(subject))


def named(subject: str) -> Digest:
    """Give the digest of a version that `known` describes."""
    return Digest(subject.encode().hex().ljust(64, "0")[:64])


def _split(subject: str) -> tuple[Model, Version]:
    model, _, version = subject.partition(":")
    return Model(model), Version(version)


def removed(built: Built, ref: str = "churn:1", number: int = 1, **change: object) -> Removal:
    """Make a removal of a version of a vault."""
    found, manifest = built.manifest(ref)
    made = Removal(
        built.vault,
        built.policy_id,
        found.model,
        found.version,
        manifest,
        number,
        removal.REMOVE,
        names.time_text(built.now + 7 * 86_400),
        None,
        "not kept by keep-last 1",
        built.time,
    )
    return replace(made, **change)  # type: ignore[arg-type]


def signed_removal(built: Built, record: Removal, *who: str) -> bytes:
    """Sign a removal."""
    return built.sign(removal.KIND, removal.encode(record), *who)


def held(built: Built, pattern: str = "churn", ref: str | None = None, **change: object) -> Hold:
    """Make a hold on a pattern, or on one version."""
    version, manifest = None, None
    if ref is not None:
        found, manifest = built.manifest(ref)
        version, pattern = found.version, str(found.model)
    made = Hold(built.vault, built.policy_id, pattern, version, manifest, "case 7", built.time)
    return replace(made, **change)  # type: ignore[arg-type]


def signed_hold(built: Built, record: Hold, *who: str) -> bytes:
    """Sign a hold."""
    return built.sign(holds.HOLD, holds.encode_hold(record), *who)


def released(built: Built, hold: Digest, **change: object) -> Release:
    """Make a release of the hold with this digest."""
    made = Release(built.vault, built.policy_id, hold, "closed", built.time)
    return replace(made, **change)  # type: ignore[arg-type]


def signed_release(built: Built, record: Release, *who: str) -> bytes:
    """Sign a release."""
    return built.sign(holds.RELEASE, holds.encode_release(record), *who)


def notice(built: Built, *leaves: str, **change: object) -> Notice:
    """Make a notice of leftovers of churn:9."""
    seen = tuple(sorted(f"models/churn/@/9/{leaf}" for leaf in leaves))
    made = Notice(built.vault, built.policy_id, Model("churn"), Version("9"), seen, built.time)
    return replace(made, **change)  # type: ignore[arg-type]


def signed_notice(built: Built, record: Notice, *who: str) -> bytes:
    """Sign a notice of leftovers."""
    return built.sign(leftovers.KIND, leftovers.encode(record), *who)
