"""Keep every test away from this user's own identities, settings and vaults; set hypothesis up."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Workers run beside one another: libraries that start a thread for every core would wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Test machines are slow at times, so no example has a deadline; CI tries the same examples each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected, a million objects, out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Be a user with an empty home and no settings, for as long as the tests run."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("MVAULT_", "XDG_")):
            del os.environ[name]
    home = Path.home()
    # npm, which installs an independent implementation to compare with, keeps its configuration.
    os.environ.setdefault("NPM_CONFIG_USERCONFIG", str(home / ".npmrc"))
    os.environ.setdefault("NPM_CONFIG_CACHE", str(home / ".npm"))
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.clear()
    os.environ.update(before)
