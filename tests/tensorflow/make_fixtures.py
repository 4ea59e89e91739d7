"""Make the small real models in `data/`, which tests without TensorFlow read. Run by hand:

python -m tests.tensorflow.make_fixtures
"""

import shutil
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


def models() -> dict[str, Any]:
    """Build a plain model, one with two inputs and operations, and one with a vocabulary."""
    import keras

    keras.utils.set_random_seed(7)
    plain = keras.Sequential(
        [
            keras.Input((4,), name="rows"),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    joined = keras.layers.Concatenate()([keras.layers.Dense(2, kernel_regularizer="l2")(left), right])
    both = keras.Model([left, right], keras.layers.Dense(1)(keras.ops.sin(joined)[:, :3] + 1.0))
    words = keras.Input((1,), dtype="string", name="words")
    known = keras.layers.StringLookup(vocabulary=["up", "/down", "../flat"])(words)
    text = keras.Model(words, keras.layers.Embedding(4, 2)(known))
    return {"plain": plain, "both": both, "text": text}


def main() -> None:
    """Write each as a `.keras` archive and as a SavedModel."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    for name, model in models().items():
        model.save(DATA / f"{name}.keras")
        model.export(str(DATA / name), verbose=False)


if __name__ == "__main__":
    main()
