"""Old models as people left them lying about, and a vault to take them over."""

import io
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.builders import Built
from vault.actions import taking_over
from vault.actions.taking_over_preparing import How
from vault.core import adoption_pattern, adoption_plan, names
from vault.core.adoption_report import AdoptionReport, Item

PLAIN = "models/{model}/v{version}/model.joblib"
# What a pickle that runs a program looks like; it names nothing else.
HOSTILE = b"cos\nsystem\n(S'touch marker'\ntR."


def rows(count: int = 200) -> Any:
    """Give rows of four columns, the same each time."""
    return np.random.default_rng(7).normal(size=(count, 4)).astype("float32").astype("float64")


def labels() -> Any:
    """Give a label for each of `rows()`."""
    table = rows()
    return (table[:, 0] + table[:, 1] > 0).astype(int)


@cache
def logistic(strength: float = 1.0) -> Any:
    """Fit a small model; others differ by their strength."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(rows(), labels())


def joblibbed(thing: Any) -> bytes:
    """Write a joblib file."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(thing, buffer)
    return buffer.getvalue()


def weightless(number: int = 0) -> bytes:
    """Write a pickle that is converted without any library: a dict of numbers."""
    return pickle.dumps({"weights": [1.0, float(number)]}, protocol=2)


def weights(number: int = 0) -> bytes:
    """Write a safetensors file, which is taken over as it is."""
    from safetensors.numpy import save

    data: bytes = save({"w": np.full(3, number, dtype="float32")})
    return data


def lay(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def adopt(
    built: Built,
    source: Path | str,
    pattern: str | None = PLAIN,
    *renames: str,
    state: Path | None = None,
    fix_names: bool = False,
    session: Any = None,
    **more: Any,
) -> AdoptionReport:
    """Adopt as the owner; `more` are fields of a request, or of how to convert."""
    how = How(**{name: more.pop(name) for name in list(more) if name in How.__dataclass_fields__})
    request = taking_over.Request(
        pattern=None if pattern is None else adoption_pattern.parse(pattern),
        renames=adoption_plan.renames(renames, suggested=fix_names),
        how=how,
        **more,
    )
    return taking_over.adopt(session or built.session(), state, str(source), request)


def by_path(report: AdoptionReport) -> dict[str, Item]:
    """Give the items of a report by their paths."""
    assert len({item.path for item in report.items}) == len(report.items)
    return {item.path: item for item in report.items}


def outcomes(report: AdoptionReport) -> dict[str, str]:
    """Give what became of every path: the version, or the code of why it remains."""
    return {
        item.path: item.code if item.outcome == "remains" else f"{item.outcome} {item.reference}"
        for item in report.items
    }


def metadata(built: Built, reference: str) -> dict[str, Any]:
    """Read what was recorded of a version."""
    return dict(built.open(names.reference(reference)).opened.metadata.info)
