"""The manifest binds plaintext, and `metadata.json` what nobody else should learn."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import Built
from vault.core import limits, manifest, names, strict_json
from vault.core.manifest import METADATA, FileEntry, FileFacts, Manifest, Metadata, Parent
from vault.core.names import Digest, Path
from vault.errors import DigestMismatch, Malformed

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def built() -> Built:
    made = builders.solo()
    made.publish()
    return made


def changed(built: Built, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(manifest.encode(built.manifest("churn:1")[0]))
    change(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def public(built: Built) -> Manifest:
    made = built.fork()
    return made.manifest(made.publish(model="open", public=True))[0]


def test_a_manifest_is_read_as_it_was_written(built: Built) -> None:
    for found in (built.manifest("churn:1")[0], public(built)):
        payload = manifest.encode(found)
        assert manifest.parse(payload, "it") == found
        assert manifest.encode(manifest.parse(payload, "it")) == payload


def test_a_manifest_tells_no_digest_but_that_of_the_metadata_unless_it_is_public(built: Built) -> None:
    found = built.manifest("churn:1")[0]
    assert [entry.path for entry in found.files if entry.sha256 is not None] == [METADATA]
    assert all(entry.sha256 is not None for entry in public(built).files)
    assert found.file("model.json") is not None
    assert found.file("nothing") is None
    assert found.metadata.path == METADATA


def entry(value: dict[str, Any], path: str) -> dict[str, Any]:
    return next(file for file in value["files"] if file["path"] == path)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("public"),
        lambda value: value.update(publishers=[]),
        lambda value: value.update(publishers=value["publishers"] * 2),
        lambda value: value.update(version="latest"),
        lambda value: value.update(model="../x"),
        lambda value: value.update(created=1),
        lambda value: value["policy"].update(version=0),
        lambda value: value.update(files=[]),
        lambda value: value.update(files=[entry(value, "metadata.json")]),
        lambda value: value.update(files=[file for file in value["files"] if file["role"] != "metadata"]),
        lambda value: value["files"].reverse(),
        lambda value: value["files"].append(value["files"][-1]),
        lambda value: entry(value, "model.json").update(path="../model.json"),
        lambda value: entry(value, "model.json").update(path="MODEL.JSON/x/../y"),
        lambda value: entry(value, "model.json").update(path="Features.json"),
        lambda value: entry(value, "model.json").update(path="metadata.json/x"),
        lambda value: entry(value, "model.json").update(size=-1),
        lambda value: entry(value, "model.json").update(size=limits.FILE_BYTES + 1),
        lambda value: entry(value, "model.json").update(role="rule"),
        lambda value: entry(value, "model.json").update(commitment=None),
        lambda value: entry(value, "model.json").update(commitment="00"),
        lambda value: entry(value, "model.json").update(sha256="0" * 64),
        lambda value: entry(value, "model.json").update(extra=0),
        lambda value: entry(value, "metadata.json").update(commitment="00" * 32),
        lambda value: entry(value, "metadata.json").update(sha256=None),
        lambda value: entry(value, "metadata.json").update(role="file"),
        lambda value: entry(value, "metadata.json").update(format="text"),
        lambda value: entry(value, "metadata.json").update(size=limits.METADATA_BYTES + 1),
        lambda value: value.update(public=True),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    built: Built, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(Malformed):
        manifest.parse(changed(built, change), "it")


def parent(model: str = "base", version: str = "1", digit: str = "a", relation: str = "same-data") -> Parent:
    return Parent(names.model(model), names.version(version), Digest(digit * 64), relation)


def test_parents_stand_in_a_manifest_only_where_there_are_some(built: Built) -> None:
    alone = built.manifest("churn:1")[0]
    assert b"parents" not in manifest.encode(alone)
    child = replace(alone, parents=(parent(), parent(digit="b"), parent("nepse/NABIL", "1.4.0")))
    payload = manifest.encode(child)
    assert manifest.parse(payload, "it") == child
    assert manifest.encode(manifest.parse(payload, "it")) == payload
    told = b'"parents":[{"manifest":"%s","model":"base","relation":"same-data","version":"1"}' % (b"a" * 64)
    assert told in payload
    without = json.loads(payload)
    del without["parents"]
    assert strict_json.encode(without) == manifest.encode(alone)


def told(**changes: object) -> dict[str, object]:
    return {"manifest": "a" * 64, "model": "base", "relation": "same-data", "version": "1", **changes}


@pytest.mark.parametrize(
    "parents",
    [
        [],
        {},
        None,
        "base:1",
        [None],
        ["base:1"],
        [told(), told()],
        [told(manifest="b" * 64), told()],
        [told(model="zeta"), told(model="alpha")],
        [told(relation="same-data"), told(relation="converted-from")],
        [told(relation="begotten-by")],
        [told(manifest="sha256:" + "a" * 64)],
        [told(manifest="a" * 63)],
        [told(model="../base")],
        [told(version="latest")],
        [told(version=1)],
        [told(extra=1)],
        [{"manifest": "a" * 64, "model": "base", "version": "1"}],
        [told(model="churn", version="1")],
        [told(version=str(number)) for number in range(10, 11 + limits.PARENTS)],
    ],
)
def test_parents_that_are_none_or_not_in_their_one_spelling_are_refused(built: Built, parents: Any) -> None:
    with pytest.raises(Malformed):
        manifest.parse(changed(built, lambda value: value.update(parents=parents)), "it")


def test_a_version_may_have_an_earlier_one_of_its_own_model_as_a_parent(built: Built) -> None:
    child = replace(built.manifest("churn:1")[0], parents=(parent("churn", "2"),))
    assert manifest.parse(manifest.encode(child), "it") == child


def test_the_largest_manifest_can_be_written_and_read(built: Built) -> None:
    found = built.manifest("churn:1")[0]
    parents = tuple(
        parent("m" * 64 + "/" + "n" * 64, str(10**14 + number), relation="fine-tuned-from")
        for number in range(limits.PARENTS)
    )
    file = found.files[0]
    many = tuple(
        replace(file, path=Path(f"{number:05}" + "a" * 200)) for number in range(limits.PACKAGE_FILES - 1)
    )
    largest = replace(found, files=(*many, found.metadata), parents=parents)
    payload = manifest.encode(largest)
    data = built.sign(manifest.KIND, payload, "owner")
    assert manifest.parse(payload, "it") == largest
    assert len(data) <= limits.ENVELOPE_BYTES


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "A"],
        ["straße", "STRASSE"],
        ["\ufb01le", "file"],
        ["a", "a/b"],
        ["a/b", "A"],
        ["a/b/c", "a/b", "a/c"],
        ["same", "same"],
    ],
)
def test_paths_that_some_file_system_confuses_are_refused(paths: list[str]) -> None:
    with pytest.raises(Malformed):
        manifest.check_paths([Path(path) for path in paths], "it")


def test_different_paths_are_no_problem() -> None:
    manifest.check_paths([Path(path) for path in ("a", "ab", "b/a", "b/ab", "b.a", "c/b/a")], "it")


# --- commitments ---


def test_a_commitment_is_the_hmac_that_the_format_names() -> None:
    message = (
        b"mvault/v1/file-commitment\x00" + (3).to_bytes(8, "big") + "é1".encode()
        + (5).to_bytes(8, "big") + bytes(32)
    )  # fmt: skip
    assert manifest.commit(SECRET, "é1", 5, bytes(32)) == hmac.digest(SECRET, message, hashlib.sha256)


def facts(data: bytes) -> tuple[FileEntry, Metadata]:
    digest = hashlib.sha256(data).digest()
    path = Path("a.json")
    made = FileEntry(path, len(data), "json", "file", manifest.commit(SECRET, path, len(data), digest), None)
    return made, Metadata(SECRET, {path: FileFacts(Digest(digest.hex()), ())}, {}, {})


def test_a_file_that_is_what_was_signed_passes() -> None:
    file, metadata = facts(b"{}")
    digest = hashlib.sha256(b"{}").digest()
    manifest.check_file(file, metadata, 2, digest, "it")
    manifest.check_file(replace(file, sha256=Digest(digest.hex())), metadata, 2, digest, "it")


def test_any_other_size_or_content_is_refused() -> None:
    file, metadata = facts(b"{}")
    digest = hashlib.sha256(b"{}").digest()
    with pytest.raises(DigestMismatch) as caught:
        manifest.check_file(file, metadata, 3, digest, "it")
    assert caught.value.code == "size-mismatch"
    other = hashlib.sha256(b"[]").digest()
    other_facts = {file.path: FileFacts(Digest(other.hex()), ())}
    for wrong_file, wrong_metadata, wrong_digest in (
        (file, metadata, other),  # the content is another
        (file, replace(metadata, files=other_facts), other),  # and so is what the metadata says of it
        (file, replace(metadata, files=other_facts), digest),
        (file, replace(metadata, files={}), digest),
        (file, replace(metadata, secret=bytes(32)), digest),
        (replace(file, commitment=None), metadata, digest),
        (replace(file, commitment=bytes(32)), metadata, digest),
        (replace(file, path=Path("b.json")), metadata, digest),
        (replace(file, sha256=Digest(other.hex())), metadata, digest),
    ):
        with pytest.raises(DigestMismatch) as caught:
            manifest.check_file(wrong_file, wrong_metadata, 2, wrong_digest, "it")
        assert caught.value.code == "digest-mismatch"


# --- metadata.json ---

METADATA_VALUE = Metadata(
    SECRET,
    {
        Path("model.skops"): FileFacts(Digest("0" * 64), ("a.B", "c.D")),
        Path("a"): FileFacts(Digest("1" * 64), ()),
    },
    {"numpy": "2.4.6"},
    {"metrics": {"auc": 0.91}, "tags": ["x", None, True], "notes": "é"},
)


def metadata_entry(data: bytes) -> FileEntry:
    digest = Digest(hashlib.sha256(data).hexdigest())
    return FileEntry(METADATA, len(data), "json", "metadata", None, digest)


def test_metadata_is_read_as_it_was_written() -> None:
    data = manifest.encode_metadata(METADATA_VALUE)
    assert manifest.parse_metadata(memoryview(data), metadata_entry(data), "it") == METADATA_VALUE


def test_metadata_is_compared_before_it_is_parsed() -> None:
    data = manifest.encode_metadata(METADATA_VALUE)
    wanted = metadata_entry(data)
    for other in (data + b" ", data[:-1], b"not JSON", data.replace(b"0.91", b"0.99")):
        with pytest.raises(DigestMismatch):
            manifest.parse_metadata(other, wanted, "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("info"),
        lambda value: value.update(secret="00"),
        lambda value: value.update(libraries={"numpy": 2}),
        lambda value: value.update(libraries={"x" * 5_000: "1"}),
        lambda value: value.update(files={"../a": {"pins": [], "sha256": "0" * 64}}),
        lambda value: value.update(files={"a": []}),
        lambda value: value["files"]["a"].update(pins=["b", "a"]),
        lambda value: value["files"]["a"].update(pins=["a", "a"]),
        lambda value: value["files"]["a"].update(pins=[1]),
        lambda value: value["files"]["a"].update(sha256="x"),
        lambda value: value["files"]["a"].update(extra="x"),
        lambda value: value.update(info=[]),
    ],
)
def test_metadata_of_another_shape_is_refused_although_its_digest_holds(
    change: Callable[[dict[str, Any]], object],
) -> None:
    value = json.loads(manifest.encode_metadata(METADATA_VALUE))
    change(value)
    data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(Malformed):
        manifest.parse_metadata(data, metadata_entry(data), "it")


def test_metadata_that_no_reader_would_accept_is_not_written() -> None:
    with pytest.raises(ValueError):
        manifest.encode_metadata(replace(METADATA_VALUE, info={"loss": float("nan")}))


def test_metadata_is_strict_json() -> None:
    data = json.dumps(json.loads(manifest.encode_metadata(METADATA_VALUE))).encode()
    with pytest.raises(Malformed):
        manifest.parse_metadata(data, metadata_entry(data), "it")
    assert strict_json.parse(data, canonical=False, floats=True)
    assert names.path(METADATA) == METADATA
