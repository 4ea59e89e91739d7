"""The store in S3 keeps its promises on a Ceph RADOS gateway too; by hand, where Ceph is installed.

apt install radosgw ceph-mon ceph-osd
pytest -m slow tests/conformance/test_store_s3_ceph.py
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.creating_suite import put
from tests.conformance.crossing_suite import CrossingSuite
from tests.e2e.remote_day import check_a_day
from tests.house.source_tree import ROOT
from tests.servers.ceph import CephServer, ceph  # noqa: F401
from vault.actions import probing
from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.ports import Store
from vault.storage.opening import open_store

pytestmark = pytest.mark.slow


class TestS3StoreOnCeph(CrossingSuite):
    little = 64 * limits.MIB  # five parts of 8 MiB on each side, and some

    @pytest.fixture
    def store(self, ceph: CephServer) -> Iterator[Store]:  # noqa: F811
        bucket = ceph.new_bucket()
        yield open_store(ceph.url(bucket, "a/vault"))
        left = ceph.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        assert not left, "no part of a failed upload is left behind"


def test_what_its_gateway_ignores_of_multipart_uploads_is_made_up_for(ceph: CephServer) -> None:  # noqa: F811
    bucket, client = ceph.new_bucket(), ceph.client()
    client.put_object(Bucket=bucket, Key="v/a", Body=b"first")
    upload = client.create_multipart_upload(Bucket=bucket, Key="v/a")["UploadId"]
    told = {"Bucket": bucket, "Key": "v/a", "UploadId": upload}
    part = client.upload_part(**told, PartNumber=1, Body=b"second")
    client.complete_multipart_upload(
        **told, IfNoneMatch="*", MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert client.get_object(Bucket=bucket, Key="v/a")["Body"].read() == b"second", "it ignores the condition"

    store = open_store(ceph.url(bucket, "w"))
    put(store, "a", bytes(20 * limits.MIB))
    with pytest.raises(Conflict):
        put(store, "a", bytes([1]) * (20 * limits.MIB))
    assert store.read("a", limit=20 * limits.MIB) == bytes(20 * limits.MIB)
    found = probing.survey(store, large=True)
    assert (found.creates, found.creates_large) == (True, True)


def test_a_day_with_a_vault(ceph: CephServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    bucket = ceph.new_bucket()
    check_a_day(
        ceph.url(bucket, "team/vault"),
        tmp_path,
        lambda name, data: ceph.client().put_object(Bucket=bucket, Key=f"team/vault/{name}", Body=data),
    )


def test_under_the_bucket_policy_of_the_examples_objects_are_made_and_none_is_deleted(
    ceph: CephServer,  # noqa: F811
) -> None:
    """Of its three rules the gateway knows the one about deletes, not the conditions of the other two."""
    bucket, client = ceph.new_bucket(), ceph.client()
    told = {
        name: (ROOT / f"examples/iam/{name}.json")
        .read_text()
        .replace("BUCKET", bucket)
        .replace("PREFIX", "v")
        for name in ("bucket-policy", "lifecycle")
    }
    client.put_bucket_policy(Bucket=bucket, Policy=told["bucket-policy"])
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration=json.loads(told["lifecycle"])
    )
    kept = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [rule["AbortIncompleteMultipartUpload"] for rule in kept] == [{"DaysAfterInitiation": 7}]
    store = open_store(ceph.url(bucket, "v"))
    for name, size in (("small", 1), ("large", 20 * limits.MIB)):
        put(store, name, bytes(size))
        with pytest.raises(Unavailable) as caught:
            store.delete(name)
        assert caught.value.code == "storage-denied"
        assert store.stat(name).size == size
