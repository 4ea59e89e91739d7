"""Old models in a bucket become versions: from S3, and from a service that other adapters speak to."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import solo
from tests.e2e.adopting_parts import HOSTILE, adopt, by_path, metadata, outcomes, weightless, weights
from tests.servers.fake_gcs import FakeGcs, fake_gcs  # noqa: F401
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from tests.variables import variables
from vault.confinement import confine
from vault.errors import Unavailable
from vault.storage import foreign

PATTERN = "old models/{model}/v{version}/model.pkl"
OBJECTS = {
    "team/old models/churn/v1/model.pkl": weightless(1),
    "team/old models/churn/v2/model.pkl": weights(2),
    "team/old models/nepse/NABIL/v1/model.pkl": weights(3),
    "team/old models/evil/v1/model.pkl": HOSTILE,
    "team/old models/größe/v1/model.pkl": weights(4),
    "team/old models/churn/v2/notes.txt": b"hello",
    "elsewhere/churn/v9/model.pkl": weights(9),
}
TOLD = {
    "old models/churn/v1/model.pkl": "adopted churn:1",
    "old models/churn/v2/model.pkl": "adopted churn:2",
    "old models/nepse/NABIL/v1/model.pkl": "adopted nepse/NABIL:1",
    "old models/evil/v1/model.pkl": "not-allowed",
    "old models/größe/v1/model.pkl": "malformed-name",
}
confined = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> Iterator[tuple[SeaweedServer, str]]:  # noqa: F811
    """A bucket with old models, and credentials for it."""
    name = seaweed.new_bucket()
    for key, data in OBJECTS.items():
        seaweed.client().put_object(Bucket=name, Key=key, Body=data)
    with variables(seaweed.environment()):
        yield seaweed, name


@confined
def test_a_bucket_of_s3_is_adopted_below_a_prefix(bucket: tuple[SeaweedServer, str], tmp_path: Any) -> None:
    server, name = bucket
    url = server.url(name, "team")
    built = solo(seed="s3")
    report = adopt(built, url, PATTERN, state=tmp_path)
    assert outcomes(report) == TOLD
    assert report.unmatched == ("old models/churn/v2/notes.txt",)
    assert report.source == url
    adopted = metadata(built, "churn:2")["adopted"]
    assert (adopted["path"], adopted["source"]) == ("old models/churn/v2/model.pkl", report.source)
    assert adopted["modified"] is not None
    again = outcomes(adopt(built, url, PATTERN, state=tmp_path))
    assert again["old models/churn/v1/model.pkl"] == "already churn:1"
    listing = server.client().list_objects_v2(Bucket=name)["Contents"]
    assert {entry["Key"] for entry in listing} == set(OBJECTS)


def test_an_object_that_was_replaced_is_no_longer_what_was_adopted(
    bucket: tuple[SeaweedServer, str], tmp_path: Any
) -> None:
    server, name = bucket
    built, url = solo(seed="s3 again"), server.url(name, "team")
    pattern = "old models/{model}/NABIL/v{version}/model.pkl"
    assert [*outcomes(adopt(built, url, pattern, state=tmp_path)).values()] == ["adopted nepse:1"]
    key = "team/old models/nepse/NABIL/v1/model.pkl"
    server.client().put_object(Bucket=name, Key=key, Body=weights(99))
    (item,) = adopt(built, url, pattern, state=tmp_path).items
    assert (item.outcome, item.code) == ("remains", "conflict")


def test_a_large_object_is_read_by_ranges(bucket: tuple[SeaweedServer, str]) -> None:
    import numpy as np
    from safetensors.numpy import save

    server, name = bucket
    data = save({"w": np.random.default_rng(0).normal(size=3_000_000)})
    server.client().put_object(Bucket=name, Key="large/1.safetensors", Body=data)
    built = solo(seed="s3 large")
    assert [*outcomes(adopt(built, server.url(name), "{model}/{version}.safetensors")).values()] == [
        "adopted large:1"
    ]
    assert built.read("large:1") == {"model.safetensors": data}


def test_a_bucket_that_is_not_there_is_told(seaweed: SeaweedServer) -> None:  # noqa: F811
    with variables(seaweed.environment()), pytest.raises(Unavailable):
        adopt(solo(seed="no bucket"), seaweed.url("no-such-bucket-here"), PATTERN)


def test_what_is_no_bucket_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="is no bucket"):
        foreign.open_bucket("ftp://x/y")
    with pytest.raises(ValueError, match="option"):
        foreign.open_bucket("s3://bucket/x?secret=1")


def test_a_bucket_of_gcs_is_adopted(fake_gcs: FakeGcs) -> None:  # noqa: F811
    from urllib.parse import quote

    name = fake_gcs.bucket()
    for key, data in OBJECTS.items():
        path = f"/upload/storage/v1/b/{name}/o?uploadType=media&name={quote(key, safe='')}"
        fake_gcs.request("POST", path, data, "application/octet-stream")
    url = f"gs://{name}/team?endpoint={fake_gcs.endpoint}&anonymous=true"
    built = solo(seed="gcs")
    found = by_path(adopt(built, url, PATTERN, dry_run=True))
    assert found["old models/churn/v1/model.pkl"].outcome == "would-adopt"
    found = by_path(adopt(built, url, "old models/nepse/{model}/v{version}/model.pkl"))
    assert [item.reference for item in found.values()] == ["NABIL:1"]
    assert built.read("NABIL:1") == {"model.safetensors": OBJECTS["team/old models/nepse/NABIL/v1/model.pkl"]}
