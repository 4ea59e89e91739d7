"""Old models from strangers: nothing of them runs here, no path leads elsewhere, nothing goes unsaid."""

import io
import os
import pickle
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.deserialization_watch import in_child
from tests.builders import solo
from tests.e2e.adopting_parts import HOSTILE, adopt, by_path, lay, outcomes, weightless, weights
from vault.actions.taking_over_places import Aside, BucketPlace, FolderPlace
from vault.confinement import confine
from vault.core import limits
from vault.errors import Malformed, NotFound, Unavailable
from vault.ports import Source
from vault.storage.foreign import ObjectFacts
from vault.storage.local_reading import LocalSource

ANY = "{model}/v{version}.pkl"
confined = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")

# Every unpickler raises an audit event for each name that it looks up, in whatever thread it runs.
WATCHED = """
import sys
from pathlib import Path

events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("pickle.") else None)
from tests.builders import solo
from tests.e2e.adopting_parts import adopt, outcomes

report = adopt(solo(seed="hostile"), sys.argv[1], "{model}/v{version}.pkl", seconds=60, threads=2)
for path, told in sorted(outcomes(report).items()):
    print(path, told)
print("events", sorted(set(events)))
print("modules", [name for name in ("joblib", "sklearn.linear_model") if name in sys.modules])
"""


class Sleeper:
    """What runs when it is unpickled, and names nothing that stands on a list of dangers."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.told = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.told


@confined
def test_no_pickle_is_loaded_in_the_process_that_adopts(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    lay(
        tmp_path / "old",
        {
            "good/v1.pkl": weightless(),
            "system/v1.pkl": HOSTILE,
            "writes/v1.pkl": pickle.dumps(Sleeper(Path.touch, marker)),
            "exits/v1.pkl": pickle.dumps(Sleeper(os._exit, 0)),
            "loops/v1.pkl": b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b".",
            "half/v1.pkl": weightless()[:-3],
        },
    )
    lines = in_child(WATCHED, tmp_path / "old", timeout=300)
    assert lines[-2:] == ["events []", "modules []"]
    told = dict(line.split(" ", 1) for line in lines[:-2])
    assert told.pop("good/v1.pkl") == "adopted good:1"
    assert told.pop("system/v1.pkl") == "not-allowed"
    assert told.pop("exits/v1.pkl") == "not-allowed"
    assert set(told) == {"writes/v1.pkl", "loops/v1.pkl", "half/v1.pkl"}
    assert all(
        code in {"conversion-failed", "format-refused", "malformed-document"} for code in told.values()
    ), told
    assert not marker.exists()


@confined
def test_a_pickle_that_takes_forever_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    import time

    lay(tmp_path, {"sleeps/v1.pkl": pickle.dumps(Sleeper(time.sleep, 600)), "still/v1.pkl": weights()})
    found = by_path(adopt(solo(seed="slow"), tmp_path, ANY, seconds=3))
    assert found["sleeps/v1.pkl"].code == "conversion-failed"
    assert "longer than 3 seconds" in found["sleeps/v1.pkl"].reason
    assert found["still/v1.pkl"].outcome == "adopted"


def test_containers_that_break_their_rules_remain(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../escape", "x")
    bad_skops = io.BytesIO()
    with zipfile.ZipFile(bad_skops, "w") as archive:
        archive.writestr(
            "schema.json", '{"__module__": "os", "__class__": "system", "__loader__": "TypeNode"}'
        )
    files = {
        "slip/v1.pkl": buffer.getvalue(),
        "skops/v1.pkl": bad_skops.getvalue(),
        "cut/v1.pkl": b"PK\x03\x04broken",
        "safe/v1.pkl": weights()[:-5],
        "bare/v1.pkl": (1 << 60).to_bytes(8, "little") + b"{}",
    }
    lay(tmp_path, files)
    report = adopt(solo(seed="containers"), tmp_path, ANY)
    assert len(report.remaining) == len(files)
    assert all(item.code and item.reason for item in report.remaining)


# --- folders ---


def test_links_and_pipes_are_told_and_not_followed(tmp_path: Path) -> None:
    old = lay(tmp_path / "old", {"m/v1.pkl": weights()})
    lay(tmp_path / "secret", {"v9.pkl": weights(9)})
    (old / "loop").symlink_to(old)
    (old / "n").symlink_to(tmp_path / "secret")
    (old / "m" / "v2.pkl").symlink_to(tmp_path / "secret" / "v9.pkl")
    os.mkfifo(old / "m" / "v3.pkl")
    report = adopt(solo(seed="links"), old, ANY)
    assert outcomes(report) == {"m/v1.pkl": "adopted m:1"}
    assert set(report.aside) == {"loop", "n", "m/v2.pkl", "m/v3.pkl"}


@pytest.mark.parametrize("swapped", ["m", "m/v1.pkl"])
def test_a_link_that_is_put_there_meanwhile_is_not_followed(swapped: str, tmp_path: Path) -> None:
    old = lay(tmp_path / "old", {"m/v1.pkl": weights(1)})
    lay(tmp_path / "secret", {"v1.pkl": weights(2)})
    place = FolderPlace(old)
    assert list(place.files("")) == ["m/v1.pkl"]
    target = old / swapped
    target.rename(tmp_path / "away")
    target.symlink_to(tmp_path / "secret" if swapped == "m" else tmp_path / "secret" / "v1.pkl")
    for read in (lambda: place.stamp("m/v1.pkl"), lambda: place.copy("m/v1.pkl", 2, most=10**6)):
        with pytest.raises((NotFound, Unavailable)):
            read()


def test_a_file_that_changes_while_it_is_read_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, {"m/v1.pkl": weights(1), "n/v1.pkl": weights(1)})
    victim = tmp_path / "m" / "v1.pkl"
    pread = os.pread

    def meanwhile(descriptor: int, count: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(victim) and offset == 0:
            with victim.open("ab") as file:
                file.write(b"more")
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", meanwhile)
    found = by_path(adopt(solo(seed="changes"), tmp_path, ANY))
    assert (found["m/v1.pkl"].outcome, found["m/v1.pkl"].code) == ("remains", "unavailable")
    assert "changed while it was read" in found["m/v1.pkl"].reason
    assert found["n/v1.pkl"].outcome == "adopted"


def test_names_that_cannot_be_printed_are_told_escaped(tmp_path: Path) -> None:
    for name in (b"\xff.pkl", b"new\nline.pkl", "\u202e.pkl".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(weights())
    report = adopt(solo(seed="odd"), tmp_path, "{model}.pkl")
    assert report.items == ()
    assert len(report.aside) == 3
    assert all(path.isprintable() for path in report.aside)
    report.markdown().encode()


def test_folders_without_end_and_files_without_number_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INSPECT_FOLDERS", 3)
    monkeypatch.setattr(limits, "ADOPT_ENTRIES", 5)
    lay(tmp_path / "deep", {"a/b/c/d/e/v1.pkl": weights()})
    lay(tmp_path / "many", {f"m/v{number}.pkl": weights() for number in range(1, 9)})
    (deep,) = FolderPlace(tmp_path / "deep").files("")
    assert isinstance(deep, Aside)
    assert "3 folders deep" in deep.reason
    *five, last = FolderPlace(tmp_path / "many").files("")
    assert len(five) == 5
    assert isinstance(last, Aside)
    assert "nothing was looked at" in last.reason


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADOPT_FILE_BYTES", 1 << 20)
    lay(tmp_path, {"m/v1.pkl": b""})
    with (tmp_path / "m" / "v1.pkl").open("r+b") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("it was read"))
    assert outcomes(adopt(solo(seed="large"), tmp_path, ANY)) == {"m/v1.pkl": "too-large"}


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_files_that_are_no_models_are_told_one_by_one(count: int, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for number in range(count):
        (folder / f"v{number}.pkl").write_bytes(b"x")
    report = adopt(solo(seed="many"), tmp_path, ANY, dry_run=True)
    assert {item.code for item in report.items} == {"format-refused", "malformed-name"}  # v0 is no version
    assert len(report.items) == count


# --- buckets ---


class Bucket:
    """A bucket whose owner is not to be trusted; `lies` changes what it says of an object."""

    location = "s3://evil/"

    def __init__(self, folder: Path, objects: dict[str, bytes], lies: int = 0) -> None:
        self.folder = folder
        self.objects = objects
        self.lies = lies

    def keys(self, prefix: str) -> Iterator[str]:
        return (key for key in self.objects if key.startswith(prefix))

    def look(self, key: str) -> ObjectFacts:
        return ObjectFacts(len(self.objects[key]) + self.lies, None, "mark")

    @contextmanager
    def open(self, key: str) -> Iterator[Source]:
        place = self.folder / "object"
        place.write_bytes(self.objects[key])
        with place.open("rb") as file:
            yield LocalSource(file.fileno(), len(self.objects[key]), key)


def test_keys_of_a_bucket_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {
        "m/v1.pkl": weights(),
        "../../etc/v1.pkl": weights(),
        "a/../b/v1.pkl": weights(),
        "/abs/v1.pkl": weights(),
        "con/v1.pkl": weights(),
        "m\x00/v1.pkl": weights(),
        "m/v1.pkl/": b"",
        "x" * 2_000 + "/v1.pkl": weights(),
    }
    monkeypatch.setattr("vault.storage.foreign.open_bucket", lambda _: Bucket(tmp_path, objects))
    report = adopt(solo(seed="keys"), "s3://evil", ANY)
    told = outcomes(report)
    assert told.pop("m/v1.pkl") == "adopted m:1"
    assert set(told.values()) == {"malformed-name"}
    assert set(told) == {"../../etc/v1.pkl", "a/../b/v1.pkl", "con/v1.pkl"}
    assert len(report.unmatched) == 3
    assert list(report.aside) == ["m\\x00/v1.pkl"]


@pytest.mark.parametrize("lies", [-1, 1, 10**15])
def test_a_bucket_that_lies_about_sizes_gives_nothing(lies: int, tmp_path: Path) -> None:
    place = BucketPlace(Bucket(tmp_path, {"m": weights()}, lies))
    with (tmp_path / "target").open("wb") as file, pytest.raises((Unavailable, Malformed)):
        place.copy("m", file.fileno(), most=1 << 30)


def test_a_hint_that_names_a_strangers_file_is_one_word_to_a_shell(tmp_path: Path) -> None:
    lay(tmp_path, {"'; touch pwned; '/1.bin": b"x", "$(touch pwned)/1.bin": b"y"})
    report = adopt(solo(seed="shell"), tmp_path, "{model}/{version}.bin", dry_run=True)
    assert len(report.remaining) == 2
    for item in report.remaining:
        words = shlex.split(item.hint.removeprefix("Rename it: ").partition(", or")[0])
        assert words == ["--rename", item.rename]
