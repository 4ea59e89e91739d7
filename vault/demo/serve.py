"""The service of the demo: a process of its own that is told what to load, and loads it or says why not.

It is started with MVAULT_VAULT, MVAULT_IDENTITY, MVAULT_TRUST and MVAULT_AUDIT,
as a container is. It reads one JSON request from its standard input and answers on
its standard output; see `vault/demo/service.py` for the other side.
"""

import json
import sys
import time
from typing import Any, Final

import vault

# Whatever of these is imported in the end says how far a load went.
_DESERIALIZERS: Final = ("joblib", "numpy", "onnxruntime", "sklearn", "skops")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Load each of `request["loads"]` and predict its rows; a refusal is an answer too."""
    results = [_load(load) for load in request["loads"]]
    return {"results": results, "imported": [name for name in _DESERIALIZERS if name in sys.modules]}


def _load(load: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        package = vault.open(env=load.get("env")).load_package(load["reference"])
        model = package.model
        rows: Any = load["rows"]
        if load["scaled"]:
            rows = package.artifacts["scaler"].transform(rows)
        predictions = model.predict(rows).tolist()
    except vault.VaultError as error:
        return {"code": error.code, "message": error.message, "hint": error.hint}
    return {
        "code": "",
        "loaded": package.reference,
        "type": type(model).__name__,
        "features": package.features,
        "predictions": predictions,
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))))
