"""Many models at once in stores of other kinds: a bucket that is asked over a network, and a database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import vault
from tests.e2e.bulk_parts import POLICY, of_all, states
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from tests.variables import variables

SYMBOLS = ("EBL", "NABIL", "NICA")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the files of three models, and settings of its own."""
    places = {f"MVAULT_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "STATE")}
    (tmp_path / "policy.yaml").write_text(POLICY)
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.json").write_text(f'{{"symbol": "{symbol}"}}')
    with variables(places):
        yield tmp_path


def check_a_night(location: str, folder: Path) -> None:
    """Bring three models to prod, their next versions after them, and prod one version back."""
    opened = vault.init(location, policy=folder / "policy.yaml", no_passphrase=True, recipient="x25519")
    rows = [{"name": f"nepse/{symbol}", "source": folder / f"{symbol}.json"} for symbol in SYMBOLS]
    for _ in range(2):
        opened.push_all(rows).raise_if_failed()
        opened.promote_all("nepse/*", env="staging").raise_if_failed()
        opened.promote_all("nepse/*@staging", env="prod").raise_if_failed()
    again = vault.open(location)
    assert states(again.promote_all("nepse/*@staging", env="prod")) == of_all(SYMBOLS, "already")
    assert states(again.rollback_all("nepse/*", env="prod")) == of_all(SYMBOLS, "done")
    packages = again.load_all("nepse/*@prod", package=True)
    assert [packages[name].reference for name in packages] == [f"nepse/{symbol}:1" for symbol in SYMBOLS]
    assert states(again.pull_all("nepse/*@prod", folder / "out")) == of_all(SYMBOLS, "done")
    assert again.check().whole
    told = again.audit.verify()
    assert [entry for log in told.logs for entry in log.findings if entry.level == "bad"] == []
    sizes = {str(log.log): log.head.size for log in told.logs if log.head is not None}
    assert (sizes["env/dev"], sizes["env/staging"], sizes["env/prod"]) == (12, 6, 18)


def test_a_bucket(seaweed: SeaweedServer, folder: Path) -> None:  # noqa: F811
    check_a_night(seaweed.url(seaweed.new_bucket(), "v"), folder)


def test_a_database(folder: Path) -> None:
    check_a_night(f"sqlite:///{folder / 'v.db'}", folder)


def test_a_cache_that_several_threads_share(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_CACHE", str(folder / "cache"))
    check_a_night(str(folder / "v"), folder)
