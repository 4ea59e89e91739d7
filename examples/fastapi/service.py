"""For deployments: serve the model that prod names, follow its promotions, and drop no request for them.

usage: MVAULT_VAULT=… MVAULT_IDENTITY=… MVAULT_TRUST=… uvicorn --app-dir examples/fastapi service:app

    curl -H 'content-type: application/json' -d '{"rows": [[0.1, 2.0, -0.3, 1.0, 0.0, 0.5]]}' \\
        http://127.0.0.1:8000/predict
    curl http://127.0.0.1:8000/ready

MODEL names another channel, WATCH_SECONDS how often it is looked at. With several workers each follows
the channel by itself, so that for some seconds two versions answer.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

import vault

REFERENCE = os.environ.get("MODEL", "churn@prod")
EVERY = float(os.environ.get("WATCH_SECONDS", "30"))


class Rows(BaseModel):
    """What a request holds: rows of numbers."""

    rows: list[list[float]] = Field(min_length=1, max_length=10_000)


class Served:
    """The model in use. Version and model are exchanged as one, so each request ends with what it began."""

    now: tuple[str, Any] | None = None
    watch: Any = None

    def swap(self, package: Any) -> None:
        """Take another version into use, once it was loaded; it is verified by then."""
        self.now = package.reference, package.model


served = Served()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Refuse to start without a model, then follow its channel until the service stops."""
    try:
        opened = vault.open(env="prod")
        served.watch = opened.watch(REFERENCE, on_change=served.swap, package=True, every=EVERY)
    except vault.VaultError as error:
        raise RuntimeError(f"{REFERENCE} was not loaded [{error.code}]: {error}") from None
    yield
    served.watch()


app = FastAPI(title=REFERENCE, lifespan=lifespan)


@app.post("/predict")
def predict(request: Rows) -> dict[str, Any]:
    """Predict, and say by which version."""
    if served.now is None:
        raise HTTPException(503, "no model is loaded")
    version, model = served.now
    try:
        return {"version": version, "predictions": model.predict(request.rows).tolist()}
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


@app.get("/live")
def live() -> dict[str, bool]:
    """Tell that the process answers; what the vault is like is no reason to restart it."""
    return {"live": True}


@app.get("/ready")
def ready() -> dict[str, Any]:
    """Tell what is served and what the last look at the channel failed with, for an alarm."""
    if served.now is None:
        raise HTTPException(503, "no model is loaded")
    watch, error = served.watch, served.watch.error
    return {
        "version": served.now[0],
        "digest": watch.digest,
        "checked": watch.checked,
        "error": None if error is None else getattr(error, "code", type(error).__name__),
        "message": None if error is None else str(error),
    }
