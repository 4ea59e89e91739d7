"""Run the demo: build, train, save, promote, serve, attack, restore, audit; whatever goes otherwise fails."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vault.demo import attacks, auditing, stage, tampering, train
from vault.demo.attacks import Attack
from vault.demo.service import Load
from vault.demo.stage import Stage
from vault.demo.storage import Storage
from vault.demo.story import Story
from vault.demo.train import Trained
from vault.errors import VaultError

# ONNX computes in 32-bit floats; what differs more than this is another prediction.
_CLOSE: Final = 1e-5
_COLUMNS: Final = (18, 29, 30)


def run(*, location: str | None = None, keep: bool = False, json: bool = False) -> int:
    """Run the demo in a temporary folder; give 0 if everything went as promised, 1 otherwise.

    The vault lies at `location`, a path or a URL at which nothing is yet, or in that folder as well.
    `keep` leaves everything there and says where; `json` prints one document
    in place of the story: `folder`, `vault`, `models`, `loads`, `attacks`,
    `audit`, `log_attacks`, `checks`, `broken`, `seconds`, `ok`.

    Raises:
        MissingLibrary: a library that trains or serves the models, or that of the store, is not installed.
        ValueError: there is no such kind of storage, or something lies at `location`.
        Refused, Unavailable: the store is not fit for a vault, or cannot be reached.
    """
    story = Story(sys.stdout, quiet=json)
    started = time.monotonic()
    if location is not None and "://" not in location:
        location = str(Path(location).absolute())  # the demo works in another folder
    with _folder(keep=keep) as folder, stage.surroundings(folder):
        story.facts["folder"] = str(folder) if keep else None
        place = location or str(folder / "models")
        storage = stage.empty(place)
        try:
            play(story, folder, place, storage)
        finally:
            if location is not None and not keep:  # it was empty: all that is there is the demo's
                storage.remove("")
        if keep:
            story.chapter("Kept, to look at")
            story.say(f"export MVAULT_CONFIG_DIR={folder}/owner/config MVAULT_STATE_DIR={folder}/owner/state")
            story.say(f"mvault ls --vault '{place}'")
            story.say(f"mvault audit log --vault '{place}'")
    whole = story.end(time.monotonic() - started)
    if json:
        story.document()
    return 0 if whole else 1


def play(story: Story, folder: Path, location: str, storage: Storage) -> None:
    """Play the whole story in an empty folder, with the vault in a storage where nothing is."""
    scene = _found(story, folder, location, storage)
    models = _save(story, scene)
    _promote(story, scene, models)
    _serve(story, scene, models)
    _be_attacked(story, scene, models)
    _look_again(story, scene, models)
    auditing.read(story, scene)
    auditing.be_attacked(story, scene)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="mvault-demo-")).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="mvault-demo-") as name:
        yield Path(name).resolve()


# --- chapters ---


def _found(story: Story, folder: Path, location: str, storage: Storage) -> Stage:
    scheme, separator, _ = location.partition("://")
    kind = f"at {scheme}://" if separator else "in a folder"
    story.chapter(f"A vault {kind}, for its owner and one service", 10)
    scene = stage.build(folder, location, storage)
    story.facts["vault"] = scene.owner.id
    story.row("vault", scene.owner.id)
    story.row(stage.OWNER, "publishes to dev, promotes to prod")
    story.row(stage.LOADER, "loads from prod; nothing that it signs counts")
    return scene


def _save(story: Story, scene: Stage) -> list[Trained]:
    story.chapter(
        "Real models are trained and saved: a safe format, proven parity, signed, encrypted", 18, 29, 10
    )
    models = []
    for model in train.train():
        models.append(model)
        reference = str(_save_one(scene, model, model.name))
        release = scene.owner.versions(model.name)[0]
        name, value = next(iter(model.metrics.items()))
        story.row(reference, model.estimator, "+".join(release.formats), f"{name} {value:.2f}")
        story.record(
            "models", {"reference": reference, "estimator": model.estimator, "formats": [*release.formats]}
        )
    _save_one(scene, models[0], attacks.CHURN.model)  # version 2, so that there is an older one to replay
    _save_one(scene, models[0], attacks.DRAFT.model)
    story.row("churn:2", "the same again: a newer version")
    story.row("churn-draft:1", "stays in dev")
    return models


def _save_one(scene: Stage, model: Trained, name: str) -> Any:
    return scene.owner.save_model(
        name,
        model.model,
        sample_input=model.fitted[:500],
        training_data=model.fitted,
        metrics=model.metrics,
        artifacts=model.artifacts,
        format=model.format,
        also=model.also,
    )


def _promote(story: Story, scene: Stage, models: list[Trained]) -> None:
    story.chapter("Promoted to prod: one signed record each, and the keys that prod needs", 18)
    for reference in ["churn:1", *(f"{model.name}:1" for model in models[1:]), "churn:2"]:
        done = scene.owner.promote(reference, env="prod")
        story.row(str(done.reference), f"is {reference.rpartition(':')[2]}, by record {done.seq}")
    scene.deploy()


def _serve(story: Story, scene: Stage, models: list[Trained]) -> None:
    story.chapter(
        "Served by other processes, which know MVAULT_VAULT, MVAULT_IDENTITY, MVAULT_TRUST and MVAULT_AUDIT",
        *_COLUMNS,
    )
    by_format = {
        "skops": [model for model in models if model.format != "onnx"],
        "onnx": [model for model in models if model.format == "onnx"],
    }
    for name, served in by_format.items():
        if not served:
            continue
        loads = [Load(f"{model.name}@prod", model.rows, model.scaled) for model in served]
        answers, imported = scene.service.ask(loads)
        for model, answer in zip(served, answers, strict=True):
            _compare(story, model, answer, exact=name == "skops")
        if name == "onnx":
            bare = "sklearn" not in imported and "skops" not in imported
            story.promise(
                "that process",
                "imported no scikit-learn",
                kept=bare,
                otherwise=f"it imported {', '.join(imported)}",
            )


def _compare(story: Story, model: Trained, answer: dict[str, Any], *, exact: bool) -> None:
    reference = f"{model.name}@prod"
    otherwise = answer.get("message", "its predictions or features are others")
    equal = answer["code"] == "" and _same(model.expected, answer["predictions"], exact=exact)
    kept = equal and answer["features"] == model.artifacts["features"]
    rows = f"{len(model.expected)} predictions " + ("equal" if exact else f"within {_CLOSE:g}")
    story.promise(reference, answer.get("type", "not loaded"), rows, kept=kept, otherwise=otherwise)
    story.record(
        "loads",
        {"reference": reference, "type": answer.get("type"), "code": answer["code"], "equal": kept},
    )


def _same(expected: list[float], got: list[float], *, exact: bool) -> bool:
    if exact:
        return expected == got
    spread = max(expected) - min(expected)
    return len(expected) == len(got) and all(
        abs(one - other) <= _CLOSE * spread for one, other in zip(expected, got, strict=True)
    )


def _be_attacked(story: Story, scene: Stage, models: list[Trained]) -> None:
    widest = max(len(attack.title) for attack in attacks.ATTACKS)
    story.chapter("Somebody with write access attacks; each time, a new process loads", widest, 7, 36)
    _prove_canary(story, scene)
    marked = 0
    for attack in attacks.ATTACKS:
        try:
            attack.apply(scene)
            _judge(story, scene, models, attack, changed=scene.storage.changed())
        finally:
            scene.storage.restore()
        if scene.marker.exists():
            marked += 1
            scene.marker.unlink()
    story.promise(
        f"(its marker after {len(attacks.ATTACKS)} attacks)",
        "absent",
        "nothing of it ever ran",
        kept=not marked,
        otherwise=f"it was there after {marked}",
    )


def _prove_canary(story: Story, scene: Stage) -> None:
    """Show that the attacker's pickle is a program: loaded without the vault, it creates the marker."""
    tampering.run_pickle(scene)
    ran = scene.marker.exists()
    scene.marker.unlink(missing_ok=True)
    story.promise(
        "(its pickle, loaded without a vault)",
        "runs",
        "and leaves its marker",
        kept=ran,
        otherwise="it did nothing, so its absence would prove nothing",
    )


def _judge(story: Story, scene: Stage, models: list[Trained], attack: Attack, *, changed: bool) -> None:
    """Load as the service does, and hold the outcome against what the attack must come to."""
    served = next((model for model in models if attack.reference.startswith(f"{model.name}@")), models[0])
    load = Load(attack.reference, served.rows, served.scaled, attack.env)
    (answer,), imported = scene.service.ask([load])
    code, marker = answer["code"], scene.marker.exists()
    found = _reported(scene, attack.found)
    wrong = {
        "nothing was changed in the storage": not changed,
        f"{code or 'it was loaded'}, where {attack.code or 'a load'} is right": code != attack.code,
        f"check does not report {attack.found}": not found,
        "the attacker's code ran": marker,
        f"it imported {', '.join(imported)} before it refused": bool(attack.code and imported),
        "its predictions are others": not code
        and not _same(served.expected, answer["predictions"], exact=False),
    }
    otherwise = "; ".join(text for text, holds in wrong.items() if holds)
    told = code + (f" (check: {attack.found})" if attack.found else "") if code else "the version in force"
    story.promise(attack.title, "refused" if code else "loads", told, kept=not otherwise, otherwise=otherwise)
    story.record(
        "attacks",
        {
            "attack": attack.title,
            "reference": attack.reference,
            "code": code,
            "reported": attack.found,
            "message": answer.get("message", ""),
            "marker": marker,
            "ok": not otherwise,
        },
    )


def _reported(scene: Stage, code: str) -> bool:
    """Tell whether `mvault check` reports a skipped object with this code, as its owner would see it."""
    return not code or any(finding.code == code for finding in scene.owner.check().findings)


def _look_again(story: Story, scene: Stage, models: list[Trained]) -> None:
    story.chapter("After every attack the bytes were put back", *_COLUMNS)
    try:
        report = scene.owner.check(data=True)
        whole = report.whole and not any(finding.level == "skipped" for finding in report.findings)
        told = f"{report.versions} versions, {report.files} files whole"
    except VaultError as error:
        whole, told = False, error.message
    story.promise("mvault check", "--data", told, kept=whole, otherwise="it is not whole")
    (answer,), _ = scene.service.ask([Load("churn@prod", models[0].rows)])
    _compare(story, models[0], answer, exact=True)
