"""A whole day with a vault in S3: made by the command, pushed to, promoted, loaded elsewhere, attacked."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import vault
from tests.servers.http_proxy import proxied
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.errors import DigestMismatch, Unavailable
from vault.vault import Vault

ROWS = 200
REPOSITORY = Path(__file__).parents[2]
MVAULT = ("-c", "from vault.cli.main import main; main()")
ELSEWHERE = """
import json, sys
import numpy as np
import vault

model = vault.open(sys.argv[1]).load_model("churn@prod")
print(json.dumps(model.predict(np.array(json.loads(sys.argv[2]))).tolist()))
"""


@dataclass(frozen=True)
class Day:
    """A vault in `bucket`, under `v/`, with a model in prod and 20 MB of weights."""

    url: str
    bucket: str
    vault: Vault
    model: Any
    rows: Any
    weights: Path

    def keys(self, server: SeaweedServer, part: str) -> list[tuple[str, int]]:
        """Give the key and size of every object whose key has `part` in it."""
        pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = [(entry["Key"], entry["Size"]) for page in pages for entry in page.get("Contents", [])]
        return [(key, size) for key, size in found if part in key]


def run(*arguments: str) -> str:
    """Run the command, or another program of this Python, to its end; give what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def day(seaweed: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:  # noqa: F811
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)  # `init` notes the vault in the folder where it is typed
    bucket = seaweed.new_bucket()
    url = seaweed.url(bucket, "v")
    run(*MVAULT, "init", url, "--no-passphrase")
    opened = vault.open(url)
    random = np.random.default_rng(1)
    rows = random.normal(size=(ROWS, 4))
    model = LogisticRegression().fit(rows, rows @ [1, -2, 3, 0] > 0)
    assert str(opened.save_model("churn", model, sample_input=rows)) == "churn:1"
    opened.promote("churn:1", env="prod")
    weights = tmp_path / "weights.bin"
    weights.write_bytes(random.bytes(20_000_000))
    run(*MVAULT, "--vault", url, "push", "weights", str(weights))
    return Day(url, bucket, opened, model, rows, weights)


def test_a_model_goes_in_and_comes_out_elsewhere(day: Day, tmp_path: Path) -> None:
    shown = run("-c", ELSEWHERE, day.url, json.dumps(day.rows[:20].tolist()))
    assert json.loads(shown) == day.model.predict(day.rows[:20]).tolist()
    again = vault.open(day.url)
    assert {row.model: row.newest for row in again.list()} == {"churn": "1", "weights": "1"}
    assert again.check(data=True).whole
    pulled = Path(again.pull("weights:1", tmp_path / "out"))
    assert (pulled / "weights.bin").read_bytes() == day.weights.read_bytes()
    again.withdraw("churn:1", env="prod")
    with pytest.raises(vault.VaultError, match="withdrawn"):
        vault.open(day.url).load_model("churn@prod")


def test_one_file_of_a_package_is_fetched_without_the_others(
    day: Day,
    seaweed: SeaweedServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "small.json").write_text("{}")
    (package / "large.bin").write_bytes(day.weights.read_bytes())
    day.vault.push("both", package)
    with proxied(seaweed.endpoint) as proxy:
        behind = day.url.replace(seaweed.endpoint, f"http://{proxy.netloc}")
        run(*MVAULT, "trust", behind, "--root", day.vault.id)
        opened = vault.open(behind)
        assert opened.load_package("both").read("small.json") == b"{}"
        fetched = sum(len(seen.data) for seen in proxy.requests)
        assert 0 < fetched < 1_000_000


def test_what_somebody_changes_in_the_bucket_is_refused(
    day: Day,
    seaweed: SeaweedServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    client = seaweed.client()
    (key,) = [key for key, size in day.keys(seaweed, "v/models/weights/") if size > 19_000_000]
    data = bytearray(client.get_object(Bucket=day.bucket, Key=key)["Body"].read())
    data[12_345_678] ^= 1
    client.put_object(Bucket=day.bucket, Key=key, Body=bytes(data))
    with pytest.raises(DigestMismatch):
        vault.open(day.url).pull("weights:1", tmp_path / "out")
    client.put_object(Bucket=day.bucket, Key=key, Body=bytes(data[:-1]))
    with pytest.raises(DigestMismatch):
        vault.open(day.url).pull("weights:1", tmp_path / "out")
    client.delete_object(Bucket=day.bucket, Key=key)
    with pytest.raises(vault.VaultError) as caught:
        vault.open(day.url).pull("weights:1", tmp_path / "out")
    assert isinstance(caught.value, Unavailable | vault.Refused | vault.NotFound)
    assert not (tmp_path / "out" / "weights.bin").exists()
    report = vault.open(day.url).check()
    assert not report.whole
    assert vault.open(day.url).check("churn:1").whole
