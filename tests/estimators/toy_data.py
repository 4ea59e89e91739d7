"""Small data of every shape that a scikit-learn estimator can be fitted on, the same in every run."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

ROWS = 60
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Data:
    """What an estimator is fitted on (`X`, `y`), and the `inputs` that its outputs are compared on.

    `groups` are rows that a splitter keeps together; None where nobody asks for them.
    """

    X: Any
    y: Any
    inputs: Any
    groups: Any = None


@cache
def data(kind: str) -> Data:
    """Return the data of one kind: `classes`, `numbers`, `texts` …

    Raises:
        KeyError: there is no such kind.
    """
    return _tables()[kind] if kind in _tables() else _others()[kind]


@cache
def _tables() -> dict[str, Data]:
    """Make the kinds whose features are one matrix of numbers."""
    rng = np.random.default_rng(11)
    table = rng.normal(size=(ROWS, 5))
    shown = rng.normal(size=(SHOWN, 5))
    score = table @ rng.normal(size=5) + rng.normal(scale=0.1, size=ROWS)
    classes = np.digitize(score, np.quantile(score, [0.33, 0.66]))
    counts = rng.integers(0, 6, size=(ROWS, 5))
    shown_counts = rng.integers(0, 6, size=(SHOWN, 5))
    two = np.column_stack([score, score**2 - table[:, 1]])
    holes = table.copy()
    holes[::7, 1] = np.nan
    shown_holes = shown.copy()
    shown_holes[::5, 1] = np.nan
    line = np.sort(table[:, 0])
    partly = classes.copy()
    partly[::3] = -1
    positive, shown_positive = np.abs(table), np.abs(shown)
    kernel, shown_kernel = table @ table.T, shown @ table.T
    rounded = np.column_stack([table[:, :4], counts[:, 0]])
    shown_rounded = np.column_stack([shown[:, :4], shown_counts[:, 0]])
    return {
        "classes": Data(table, classes, shown),
        "binary": Data(table, (score > 0).astype(int), shown),
        "named classes": Data(table, np.array(["low", "middle", "high"])[classes], shown),
        "single precision": Data(table.astype(np.float32), classes, shown.astype(np.float32)),
        "numbers": Data(table, score, shown),
        "nothing": Data(table, None, shown),
        "counts": Data(counts, classes, shown_counts),
        "amounts": Data(positive, np.exp(score / 4), shown_positive),
        "targets": Data(table, two, shown),
        "flags": Data(table, (two > np.median(two, axis=0)).astype(int), shown),
        "holes": Data(holes, score, shown_holes),
        "holes, classes": Data(holes, classes, shown_holes),
        "groups": Data(table, classes, shown, np.arange(ROWS) % 4),
        "marks": Data((counts > 2).astype(float), classes, (shown_counts > 2).astype(float)),
        "angles": Data(table[:, :2], classes, shown[:, :2]),
        "line": Data(line, line + rng.normal(scale=0.1, size=ROWS), np.sort(shown[:, 0])),
        "partly": Data(table, partly, shown),
        "kernel": Data(kernel, classes, shown_kernel),
        "rounded": Data(rounded, classes, shown_rounded),
    }


@cache
def _others() -> dict[str, Data]:
    """Make the kinds whose features are text, columns with names, records, pictures or sparse."""
    import scipy.sparse

    rng = np.random.default_rng(12)
    words = np.array(["the", "loader", "refuses", "what", "nobody", "signed", "and", "tells", "why"])
    texts = [" ".join(rng.choice(words, size=8)) for _ in range(ROWS)]
    classes = rng.integers(0, 3, size=ROWS)
    colours = rng.choice(np.array(["red", "green", "blue"], dtype=object), size=(ROWS, 2))
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 9, size=ROWS),
            "income": rng.normal(2_000, 300, size=ROWS),
            "city": rng.choice(["Oslo", "Bergen", "Tromsø"], size=ROWS),
        }
    )
    records = [{"size": float(index), "city": str(city)} for index, city in enumerate(frame["city"])]
    sets = [tuple(sorted(rng.choice(words, size=3, replace=False).tolist())) for _ in range(ROWS)]
    pictures = rng.normal(size=(6, 8, 8))
    sparse = scipy.sparse.random(ROWS, 12, density=0.4, format="csr", rng=rng)
    named, categories = frame[["age", "income"]], frame.astype({"city": "category"})
    return {
        "texts": Data(texts, classes, texts[:SHOWN]),
        "colours": Data(colours, classes, colours[:SHOWN]),
        "frame": Data(frame, classes, frame[:SHOWN]),
        "named": Data(named, classes, named[:SHOWN]),
        "categories": Data(categories, classes, categories[:SHOWN]),
        "records": Data(records, None, records[:SHOWN]),
        "labels": Data(frame["city"].to_numpy(dtype=object), None, frame["city"].to_numpy(dtype=object)),
        "sets": Data(sets, None, sets[:SHOWN]),
        "pictures": Data(pictures, None, pictures),
        "sparse array": Data(scipy.sparse.csr_array(sparse), classes, scipy.sparse.csr_array(sparse[:SHOWN])),
        "sparse": Data(sparse, classes, sparse[:SHOWN]),
    }
