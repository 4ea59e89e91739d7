"""Change real LightGBM and XGBoost files, and run in this process what the static stage lets through.

Meant for a child: `python -m tests.attacks.boosting_mutations SEED COUNT FILE…` prints for each file,
whose name begins with its kind, how many mutants were refused, and how many were loaded and predicted
with. A crash ends the child, after the line of the file before.
"""

import contextlib
import random
import re
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from vault.core import lightgbm_text, ubjson, xgboost_model
from vault.errors import Refused
from vault.loaders import lightgbm, xgboost

NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 8, 31, 32, 255, 256, 10**6, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = (b"", b" ", b"nan", b"inf", b"-inf", b"1e308", b"0.5", b"-0", b"x", b"=", b"\n")


def text(data: bytes, dice: random.Random) -> bytes:
    """Change a number or a line of a LightGBM file, and often make the sizes of trees fit again."""
    lines = data.split(b"\n")
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(lines))
        kind = dice.random()
        if kind < 0.7:
            words = list(re.finditer(rb"-?[0-9.][-+0-9.e]*", lines[at]))
            if words:
                word = dice.choice(words)
                near = b"%d" % (int(word[0]) + dice.choice((-1, 1))) if word[0].isdigit() else b"1"
                new = dice.choice((near, b"%d" % dice.choice(NUMBERS), dice.choice(WORDS)))
                lines[at] = lines[at][: word.start()] + new + lines[at][word.end() :]
        elif kind < 0.8:
            del lines[at]
        elif kind < 0.9:
            lines.insert(at, lines[dice.randrange(len(lines))])
        else:
            other = dice.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        if not lines:
            return b""
    changed = b"\n".join(lines)
    return resized(changed) if dice.random() < 0.9 else changed


def resized(data: bytes) -> bytes:
    """Write the sizes of the trees as they are."""
    head, found, rest = data.partition(b"tree_sizes=")
    if not found:
        return data
    trees = re.findall(rb"Tree=.*?\n\n\n", rest, re.DOTALL)
    sizes = b" ".join(b"%d" % len(tree) for tree in trees)
    return head + found + sizes + b"\n" + rest.partition(b"\n")[2]


def binary(data: bytes, dice: random.Random) -> bytes:
    """Change an element of an array, a text that is a number, or a few bytes of an XGBoost file."""
    changed = bytearray(data)
    arrays = list(re.finditer(rb"\[\$([iUIlLd])#L(.{8})", data, re.DOTALL))
    texts = list(re.finditer(rb"SL\0{7}\x01([0-9])", data))
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        kind = dice.random()
        if kind < 0.6:
            found = dice.choice(arrays)
            count, size = (
                int.from_bytes(found[2], "big"),
                struct.calcsize(">" + ubjson._NUMBERS[chr(found[1][0])]),
            )
            if count:
                at = found.end() + dice.randrange(count) * size
                old = int.from_bytes(changed[at : at + size], "big")
                new = dice.choice((old + 1, old - 1, dice.choice(NUMBERS), dice.randrange(2**32)))
                changed[at : at + size] = (new % 256**size).to_bytes(size, "big")
        elif kind < 0.8 and texts:
            changed[dice.choice(texts).end() - 1] = dice.choice(b"0123456789-")
        elif kind < 0.95:
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        else:
            at = dice.randrange(len(changed))
            del changed[at : at + dice.choice((1, 4, 9))]
    return bytes(changed)


def run(model: Any, width: int) -> None:
    """Predict in every way that walks trees: values, leaves, contributions; missing, huge, negative."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, width)) * 10
    rows[::3] = np.nan
    rows[::5] = rng.integers(-3, 70_000, size=(8, width))
    rows[1] = 1e300
    options: tuple[dict[str, Any], ...] = (
        {},
        {"pred_leaf": True},
        {"pred_contrib": True},
        {"raw_score": True},
    )
    if type(model).__name__ != "LightGbmModel":
        model = xgboost.XgboostModel(model.get_booster()) if hasattr(model, "get_booster") else model
        rows = rows.astype(np.float32)
        options = ({}, {"pred_leaf": True}, {"pred_contribs": True}, {"pred_interactions": True})
        options = tuple({**entry, "validate_features": False} for entry in options)
    for entry in options:
        with contextlib.suppress(Exception):  # errors of the library are no crash
            model.predict(rows, **entry)


def attempt(kind: str, data: bytes) -> bool:
    """Take a mutant through the static stage; run it if it passes, and say so."""
    try:
        if kind == "lightgbm":
            width = len(lightgbm_text.check(data).features)
            model = lightgbm.restore(data, classes=None, subject="mutant")
        else:
            width = xgboost_model.check(data).features
            model = xgboost.restore(data, subject="mutant")
    except Refused:
        return False
    if width < 10_000:
        run(model, width)
    return True


def main() -> None:
    """Run `COUNT` mutants of every `FILE`."""
    seed, count, *files = sys.argv[1:]
    warnings.simplefilter("ignore")
    for file in map(Path, files):
        data, kind = file.read_bytes(), file.name.partition("-")[0]
        passed = 0
        for number in range(int(seed), int(seed) + int(count)):
            dice = random.Random(number)
            mutant = text(data, dice) if kind == "lightgbm" else binary(data, dice)
            file.with_suffix(".last").write_bytes(mutant)
            passed += attempt(kind, mutant)
        print(f"{file.name}: {int(count) - passed} refused, {passed} loaded", flush=True)


if __name__ == "__main__":
    main()
