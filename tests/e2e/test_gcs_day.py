"""A whole day with a vault in a bucket of Google Cloud Storage."""

from pathlib import Path

import pytest

from tests.e2e.remote_day import check_a_day
from tests.servers.fake_gcs import FakeGcs, fake_gcs  # noqa: F401
from vault.storage.opening import open_store
from vault.storage.probing import probe


def test_a_day_with_a_vault_at_google(
    fake_gcs: FakeGcs,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    bucket = fake_gcs.bucket()
    url = fake_gcs.url(bucket, "team/vault")
    check_a_day(url, tmp_path, lambda name, data: fake_gcs.fill(bucket, {f"team/vault/{name}": data}))


def test_a_bucket_keeps_what_a_vault_rests_on(fake_gcs: FakeGcs) -> None:  # noqa: F811
    store = open_store(fake_gcs.url(fake_gcs.bucket()))
    found = probe(store, large=True)
    assert found.faults == ()
    assert (found.deletes, found.left) == ("done", ())
    assert list(store.list("")) == []
