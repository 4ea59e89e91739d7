"""Multipart uploads that nobody completed are ended once they are old enough, those of this vault alone."""

import time

import pytest

from tests.servers.moto import MotoServer, moto, moto_user  # noqa: F401
from vault.ports import SweepsLeftovers
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store

pytestmark = pytest.mark.usefixtures("moto_user")


def test_uploads_that_were_begun_long_ago_are_ended(moto: MotoServer) -> None:  # noqa: F811
    bucket = moto.new_bucket()
    store = open_store(moto.url(bucket, "v"))
    assert isinstance(store, S3Store)
    assert isinstance(store, SweepsLeftovers)
    client = store._client
    for key in ("v/models/a", "v/models/b", "other/models/a"):
        client.send("create_multipart_upload", Key=key)
    now = int(time.time())
    assert store.sweep_leftovers(now - 1_000_000_000, now) == 0  # moto says that all began in 2010
    assert store.sweep_leftovers(3_600, now) == 2
    assert store.sweep_leftovers(3_600, now) == 0
    left = client.send("list_multipart_uploads").get("Uploads") or []
    assert [entry["Key"] for entry in left] == ["other/models/a"]
