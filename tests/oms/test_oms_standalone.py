"""Signing and verifying from Python: paths, bytes and streams, people and times, what changes meanwhile."""

import errno
import io
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vault
from tests.oms_parts import (
    FILES,
    compatibility,
    folder,
    forged,
    line,
    own_key,
    person,
    refused,
    settled,
    signed_by,
    statement,
    trust,
)
from vault.actions import signing_cache, signing_digests
from vault.actions.signing import Signed
from vault.core.oms_signers import TrustedKey
from vault.core.public_keys import ED25519, PublicKey
from vault.errors import Conflict, DigestMismatch, NotFound, Unavailable, Unsigned
from vault.settings import Settings

ANNA, BEN, CLEO = person("anna"), person("ben"), person("cleo")
OLD = 1_600_000_000


def aged(model: Path) -> Path:
    """Let a folder's files look as if they were written long ago."""
    for path in model.rglob("*"):
        os.utime(path, (OLD, OLD))
    return model


def signed(model: Any, /, **more: Any) -> Signed:
    return vault.sign(model, identity=ANNA, **{"cache": False, **more})


# --- in memory ---


def test_bytes_and_streams_are_signed_and_verified_alike() -> None:
    made = vault.sign(b"weights", identity=ANNA, model="churn:3")
    assert made.path is None
    asked: dict[str, Any] = {"signature": made.bundle, "trusted": trust(ANNA)}
    for given in (b"weights", bytearray(b"weights"), memoryview(b"weights"), io.BytesIO(b"weights")):
        assert vault.verify(given, model="churn:3", **asked).signers == ("anna",)
    assert vault.sign(io.BytesIO(b"weights"), identity=ANNA, model="churn:3").bundle == made.bundle
    with pytest.raises(DigestMismatch):
        vault.verify(b"others", **asked)


def test_a_stream_that_can_only_be_read_is_enough() -> None:
    class Reading:
        def __init__(self) -> None:
            self.left = [b"wei", b"ghts"]

        def read(self, size: int) -> bytes:
            return self.left.pop(0)[:size] if self.left else b""

    made = vault.sign(b"weights", identity=ANNA, model="churn")
    assert vault.verify(Reading(), signature=made.bundle, trusted=trust(ANNA)).files == ("churn",)


def test_a_mapping_is_a_folder_in_memory(tmp_path: Path) -> None:
    made = vault.sign(FILES, identity=ANNA, model="churn")
    model = folder(tmp_path / "churn")
    assert vault.verify(model, signature=made.bundle, trusted=trust(ANNA)).files == tuple(sorted(FILES))
    on_disk = signed(model)
    assert on_disk.digest == vault.sign(FILES, identity=ANNA, model="churn").digest
    streams = {name: io.BytesIO(data) for name, data in FILES.items()}
    assert vault.verify(streams, signature=on_disk.path, trusted=trust(ANNA)).model == "churn"


def test_what_is_neither_is_a_mistake_of_the_caller() -> None:
    for wrong in (3, object(), None):
        with pytest.raises(TypeError):
            vault.sign(wrong, identity=ANNA, model="churn")
    with pytest.raises(ValueError, match="name"):
        vault.sign(b"x", identity=ANNA)
    with pytest.raises(ValueError, match="signature"):
        vault.verify(b"x", trusted=trust(ANNA))
    with pytest.raises(ValueError, match="trusted"):
        vault.verify(b"x", signature=b"{}")
    with pytest.raises(ValueError, match="profile"):
        vault.verify(b"x", signature=b"{}", trusted=trust(ANNA), profile="loose")


# --- exactly the verified bytes ---


def test_a_loader_gets_the_bytes_that_were_verified_and_each_is_read_once(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    with vault.verify_then_open(model, trusted=trust(ANNA)) as files:
        for path in model.rglob("*.*"):
            path.write_bytes(b"replaced after the verification")
        assert {name: bytes(data) for name, data in files.items()} == FILES
        assert files.open("config.json").read() == FILES["config.json"]
        assert files["config.json"].readonly
        with pytest.raises(ValueError, match="which"):
            files.open()
        reader = files.open("weights/a.bin")
        reader.seek(-2, io.SEEK_END)
        assert reader.read() == b"aa"
    assert not files


def test_only_what_is_asked_for_is_kept_and_all_is_verified(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    with vault.verify_then_open(model, only=["config.json"], trusted=trust(ANNA)) as files:
        assert list(files) == ["config.json"]
        assert len(files.model.files) == len(FILES)
    with pytest.raises(NotFound):
        vault.verify_then_open(model, only=["other.json"], trusted=trust(ANNA))
    (model / "weights/b.bin").write_bytes(b"c")
    with pytest.raises(DigestMismatch):
        vault.verify_then_open(model, only=["config.json"], trusted=trust(ANNA))


def test_more_than_may_be_held_is_refused(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    asked: dict[str, Any] = {"trusted": trust(ANNA), "max_bytes": 70_000}
    assert refused(lambda: vault.verify_then_open(model, **asked)) == "too-large"
    made = vault.sign(b"x" * 2_000_000, identity=ANNA, model="m")
    endless = io.BytesIO(b"x" * 2_000_000)
    asked = {"signature": made.bundle, "trusted": trust(ANNA), "max_bytes": 1_000_000}
    assert refused(lambda: vault.verify_then_open(endless, **asked)) == "too-large"


def test_one_file_is_opened_by_its_name_or_none(tmp_path: Path) -> None:
    model = folder(tmp_path, {"model.onnx": b"x" * 1_200_000}) / "model.onnx"
    signed(model)
    with vault.verify_then_open(model, trusted=trust(ANNA)) as files:
        assert list(files) == ["model.onnx"]
        assert files.open().read() == b"x" * 1_200_000
    with vault.verify_then_open(model, only=["model.onnx"], trusted=trust(ANNA)) as files:
        assert len(files["model.onnx"]) == 1_200_000
    with pytest.raises(NotFound):
        vault.verify_then_open(model, only=["other.onnx"], trusted=trust(ANNA))
    made = vault.sign(io.BytesIO(b"y" * 600_000), identity=ANNA, model="m")
    with vault.verify_then_open(
        io.BytesIO(b"y" * 600_000), signature=made.bundle, trusted=trust(ANNA)
    ) as files:
        assert files.open().read() == b"y" * 600_000


# --- people ---


def test_people_are_counted_and_not_keys(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    vault.sign(model, identity=BEN, add=True)
    everybody = trust(ANNA, BEN, CLEO) + line(ANNA, compatibility(ANNA).public).encode()
    assert vault.verify(model, trusted=everybody, threshold=2).signers == ("anna", "ben")
    assert refused(lambda: vault.verify(model, trusted=everybody, threshold=3)) == "threshold-not-met"
    assert refused(lambda: vault.verify(model, trusted=trust(CLEO))) == "untrusted-signer"
    third = vault.sign(model, identity=CLEO, add=True)
    assert third.signatures == 4
    assert vault.verify(model, trusted=everybody, threshold=3).signers == ("anna", "ben", "cleo")
    with pytest.raises(Conflict, match="already"):
        vault.sign(model, identity=CLEO, add=True)


def test_nobody_adds_a_signature_to_other_files_than_were_signed(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    (model / "config.json").write_bytes(b"{}")
    assert refused(lambda: vault.sign(model, identity=BEN, add=True)) == "digest-mismatch"
    folder(model, {**FILES, "more": b"x"})
    assert refused(lambda: vault.sign(model, identity=BEN, add=True)) == "digest-mismatch"
    (model / "more").unlink()
    with pytest.raises(ValueError, match="churn"):
        vault.sign(model, identity=BEN, add=True, model="fraud")
    assert vault.sign(model, identity=BEN, add=True).signatures == 3


def test_ecdsa_counts_in_strict_mode_only_where_that_very_key_is_listed(tmp_path: Path) -> None:
    payload = settled(statement())
    model = folder(tmp_path / "churn")
    value = forged(payload, ANNA)
    only_ecdsa = json.loads(value)
    only_ecdsa["dsseEnvelope"]["signatures"] = only_ecdsa["dsseEnvelope"]["signatures"][:1]
    bundle = json.dumps(only_ecdsa).encode()
    assert refused(lambda: vault.verify(model, signature=bundle, trusted=trust(ANNA))) == "untrusted-signer"
    listed = line(ANNA, compatibility(ANNA).public).encode()
    assert vault.verify(model, signature=bundle, trusted=listed).signers == ("anna",)


def test_bare_keys_and_certificates_name_nobody_and_count_only_for_oms(
    tmp_path: Path,
) -> None:
    from tests.oms_parts import root_certificate
    from vault.core import public_keys

    model = folder(tmp_path / "churn")
    made = signed(model, form="certificate")
    pem = public_keys.pem(compatibility(ANNA).public)
    for bare in (pem, root_certificate(ANNA)):
        with pytest.raises(ValueError, match="oms"):
            vault.verify(model, trusted=bare)
        assert vault.verify(model, trusted=bare, profile="oms").signers
    assert vault.verify(model, signature=made.bundle, trusted=trust(ANNA)).signers == ("anna",)


def test_keys_count_within_their_time_and_for_their_models(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    text = line(ANNA, options='valid-after="20270101Z",valid-before="20280101",models="chu*,x"').encode()
    for now, answer in ((1_798_761_599, "expired"), (1_798_761_600, ""), (1_830_297_600, "expired")):
        if answer:
            assert refused(lambda at=now: vault.verify(model, trusted=text, at=at)) == answer  # type: ignore[misc]
        else:
            assert vault.verify(model, trusted=text, at=now).signers == ("anna",)
    named = vault.sign(b"x", identity=ANNA, model="fraud").bundle
    ask = {"signature": named, "trusted": text, "at": 1_798_761_600}
    assert refused(lambda: vault.verify(b"x", **ask)) == "untrusted-signer"  # type: ignore[arg-type]


def test_one_key_may_be_given_as_a_value() -> None:
    made = vault.sign(b"x", identity=ANNA, model="churn")
    key = TrustedKey("anna", PublicKey(ED25519, ANNA.public))
    assert vault.verify(b"x", signature=made.bundle, trusted=key).signers == ("anna",)
    assert vault.verify(b"x", signature=made.bundle, trusted=[key]).digest == made.digest


def test_the_name_must_be_the_one_asked_for(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    made = signed(model, model="churn:3")
    assert refused(lambda: vault.verify(model, trusted=trust(ANNA))) == "misplaced"
    assert vault.verify(model, trusted=trust(ANNA), model="churn:3").model == "churn:3"
    assert vault.verify(model, trusted=trust(ANNA), any_model=True).model == "churn:3"
    digest = f"sha256:{made.digest}"
    assert vault.verify(model, trusted=trust(ANNA), model="churn:3", digest=digest).digest == made.digest
    with pytest.raises(ValueError, match="digest"):
        vault.verify(model, trusted=trust(ANNA), digest="sha256:x")


def test_annotations_are_handed_on_and_decide_nothing(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model, annotations={"mvault.model": "another", "approved": "yes"})
    found = vault.verify(model, trusted=trust(ANNA))
    assert found.annotations == {"mvault.model": "another", "approved": "yes"}
    assert found.model == "churn"


# --- where signatures lie ---


def test_a_signature_is_never_written_over_unless_asked(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    first = signed(model)
    with pytest.raises(Conflict):
        signed(model)
    assert first.path is not None
    assert first.path.read_bytes() == first.bundle
    assert stat.S_IMODE(first.path.stat().st_mode) & 0o444
    (model / "config.json").write_bytes(b"{}")
    assert signed(model, replace=True).digest != first.digest
    assert [path.name for path in tmp_path.iterdir()] in (["churn", "churn.sig"], ["churn.sig", "churn"])


def test_a_signature_is_written_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_link)
    model = folder(tmp_path / "churn")
    signed(model)
    assert vault.verify(model, trusted=trust(ANNA)).signers == ("anna",)
    with pytest.raises(Conflict):
        signed(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["churn", "churn.sig"]


def test_a_signature_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", full)
    model = folder(tmp_path / "churn")
    with pytest.raises(Unavailable, match="no room"):
        signed(model)
    assert [path.name for path in tmp_path.iterdir()] == ["churn"]


def test_a_missing_signature_is_no_signature(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    with pytest.raises(Unsigned):
        vault.verify(model, trusted=trust(ANNA))
    with pytest.raises(NotFound):
        vault.verify(tmp_path / "nothing", trusted=trust(ANNA))


@pytest.mark.parametrize("shape", ["folder", "link", "pipe", "large"])
def test_something_else_where_the_signature_belongs_is_refused(shape: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    place = tmp_path / "churn.sig"
    made = signed(model, signature=tmp_path / "real.sig")
    if shape == "folder":
        place.mkdir()
    elif shape == "link":
        place.symlink_to(tmp_path / "real.sig")
    elif shape == "pipe":
        os.mkfifo(place)
    else:
        with place.open("wb") as file:
            file.write(made.bundle)
            file.truncate(17 * 1024 * 1024)
    assert refused(lambda: vault.verify(model, trusted=trust(ANNA))) in {"malformed-envelope", "too-large"}


def test_odd_things_are_not_signed(tmp_path: Path) -> None:
    def pipe(at: Path) -> None:
        os.mkfifo(at / "pipe")

    def link(at: Path) -> None:
        (at / "link").symlink_to("config.json")

    def linked_folder(at: Path) -> None:
        (at / "link").symlink_to("weights")

    def odd_name(at: Path) -> None:
        (at / "a:b").write_bytes(b"")

    def not_utf8(at: Path) -> None:
        Path(os.fsdecode(os.fsencode(at) + b"/\xff")).write_bytes(b"")

    oddities: list[Callable[[Path], None]] = [pipe, link, linked_folder, odd_name, not_utf8]
    for number, spoil in enumerate(oddities):
        model = folder(tmp_path / str(number))
        spoil(model)
        assert refused(lambda at=model: signed(at)).startswith("malformed")  # type: ignore[misc]
        assert not (tmp_path / f"{number}.sig").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(lambda: signed(empty)) == "malformed-document"
    deep = tmp_path.joinpath("deep", *("d" for _ in range(70)))
    assert refused(lambda: signed(folder(deep, {"x": b""}) and tmp_path / "deep")).startswith("malformed")


# --- what changed meanwhile ---


class Meddling:
    """Changes something when the work has come so far."""

    def __init__(self, work: Callable[[], object], after: int = 0) -> None:
        self.work, self.after, self.done = work, after, False

    def __call__(self, done: int, total: int, what: str) -> None:
        if done > self.after and not self.done:
            self.done = True
            self.work()


def meddlings(model: Path) -> Iterator[Callable[[], object]]:
    big = model / "weights/a.bin"
    yield lambda: big.write_bytes(b"a" * 70_001)
    yield lambda: os.truncate(big, 10)
    yield lambda: (model / "added.py").write_bytes(b"x")
    yield (model / "config.json").unlink
    yield lambda: (model / "config.json").rename(model / "config.js")

    def link() -> None:
        (model / "weights").rename(model.parent / "w")
        (model / "weights").symlink_to("../w")

    yield link


@pytest.mark.parametrize("number", range(6))
def test_what_changes_while_it_is_read_is_noticed(number: int, tmp_path: Path) -> None:
    for verb in ("sign", "verify"):
        model = folder(tmp_path / verb / "churn")
        if verb == "verify":
            signed(model)
        meddle = Meddling(list(meddlings(model))[number])

        def work(verb: str = verb, model: Path = model, meddle: Meddling = meddle) -> object:
            if verb == "sign":
                return signed(model, progress=meddle)
            return vault.verify(model, trusted=trust(ANNA), progress=meddle)

        assert refused(work) in {"digest-mismatch", "malformed-document"}
        assert meddle.done


def test_a_change_that_hides_its_time_is_noticed(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    signed(model)
    before = (model / "config.json").stat()

    def swap() -> None:
        (model / "config.json").write_bytes(b'{"w":2}')
        os.utime(model / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert (
        refused(lambda: vault.verify(model, trusted=trust(ANNA), progress=Meddling(swap)))
        == "digest-mismatch"
    )


def test_one_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    model = folder(tmp_path, {"model.bin": b"x" * 2_000_000, "other.bin": b"y"}) / "model.bin"
    signed(model)
    meddle = Meddling(lambda: (tmp_path / "other.bin").rename(model))
    assert refused(lambda: vault.verify(model, trusted=trust(ANNA), progress=meddle)) == "digest-mismatch"


# --- every core, and what is remembered ---


def test_several_threads_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{number}.bin": os.urandom(100_000 + number) for number in range(20)}
    model = folder(tmp_path / "churn", files)
    alone = vault.sign(files, identity=ANNA, model="churn").digest
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert signed(model).digest == alone
    (model / "7.bin").write_bytes(b"changed")
    before = threading.active_count()
    assert refused(lambda: vault.verify(model, trusted=trust(ANNA))) == "digest-mismatch"
    assert threading.active_count() <= before


def test_a_failure_in_another_thread_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    model = folder(tmp_path / "churn", {f"{number}.bin": b"x" * 100_000 for number in range(8)})
    engine, main = signing_digests.engine, threading.current_thread()

    def failing(hash_type: str) -> Any:
        if threading.current_thread() is not main:
            raise MemoryError("no room")
        return engine(hash_type)

    monkeypatch.setattr(signing_digests, "engine", failing)
    with pytest.raises(MemoryError):
        signed(model)


def test_signing_again_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder(tmp_path / "churn")
    settings = Settings(state_dir=tmp_path / "state")
    monkeypatch.setattr(signing_cache, "_SETTLED", -10_000_000_000)  # what was just written counts at once

    def again(**more: Any) -> Signed:
        return signed(model, cache=True, settings=settings, replace=True, **more)

    assert again().hashed == 3
    assert again().hashed == 0
    (model / "config.json").write_bytes(b'{"w":2}')
    changed = again()
    assert changed.hashed == 1
    assert changed.digest == signed(model, replace=True).digest
    assert vault.verify(model, trusted=trust(ANNA)).files
    os.utime(model / "weights/b.bin", (OLD, OLD))
    assert again().hashed == 1
    assert vault.sign(model, identity=BEN, replace=True, settings=settings).hashed == 3


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    model = aged(folder(tmp_path / "churn"))
    settings = Settings(state_dir=tmp_path / "state")
    for _ in range(2):  # the time of the last change cannot be set back
        assert signed(model, cache=True, settings=settings, replace=True).hashed == 3


def test_a_cache_that_somebody_wrote_into_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path / "churn")
    settings = Settings(state_dir=tmp_path / "state")
    monkeypatch.setattr(signing_cache, "_SETTLED", -10_000_000_000)
    honest = signed(model, cache=True, settings=settings)
    (place,) = (tmp_path / "state" / "signing").iterdir()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    data = place.read_bytes()
    for spoiled in (
        b"",
        b"x",
        data[:-1],
        data.replace(b"config", b"conf1g"),
        data[65:],
        b"0" * 64 + data[64:],
    ):
        place.write_bytes(spoiled)
        made = signed(model, cache=True, settings=settings, replace=True)
        assert (made.hashed, made.digest) == (3, honest.digest)


def test_verification_reads_everything_whatever_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path / "churn")
    settings = Settings(state_dir=tmp_path / "state")
    monkeypatch.setattr(signing_cache, "_SETTLED", -10_000_000_000)
    signed(model, cache=True, settings=settings)
    monkeypatch.setattr(signing_cache.Cache, "load", lambda _: pytest.fail("looked into the cache"))
    read: list[str] = []
    found = vault.verify(
        model, trusted=trust(ANNA), settings=settings, progress=lambda done, total, what: read.append(what)
    )
    assert found.size == sum(map(len, FILES.values()))
    assert read


def test_memory_stays_small_for_large_files(tmp_path: Path) -> None:
    import tracemalloc

    model = folder(tmp_path, {"model.bin": b"x" * 60_000_000}) / "model.bin"
    tracemalloc.start()
    signed(model)
    vault.verify(model, trusted=trust(ANNA))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_signatures_of_other_documents_do_not_pass_for_models(tmp_path: Path) -> None:
    bundle = signed_by(b'{"_type":"https://in-toto.io/Statement/v1"}', ANNA)
    model = folder(tmp_path / "churn")
    assert refused(lambda: vault.verify(model, signature=bundle, trusted=trust(ANNA))) == "malformed-document"


def test_a_bundle_with_more_signatures_than_can_be_tried_is_refused(tmp_path: Path) -> None:
    made = json.loads(vault.sign(b"x", identity=ANNA, model="m").bundle)
    signatures = made["dsseEnvelope"]["signatures"]
    junk = {"sig": signatures[1]["sig"][:-4] + "AA==", "keyid": ""}
    made["dsseEnvelope"]["signatures"] = [junk] * 64
    keys = [TrustedKey(f"p{number}", own_key(person(f"p{number}"))) for number in range(200)]
    asked: dict[str, Any] = {"signature": json.dumps(made).encode(), "trusted": keys}
    assert refused(lambda: vault.verify(b"x", **asked)) == "too-large"
