"""Identity files on disk: written once, for their owner alone; unlocked once per process."""

import copy
import errno
import hmac
import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519, limits
from vault.core.identity_format import Argon2idCost
from vault.errors import Conflict, Malformed, NoUsableKey, Unavailable
from vault.keys import identity_file
from vault.keys.identity_file import Identity

CHEAP = Argon2idCost(limits.ARGON2_MEMORY_KIB_MIN, limits.ARGON2_ITERATIONS_MIN, 1)
AGE_IDENTITY = "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQY"


def made(name: str = "ana") -> Identity:
    return identity_file.new(
        name, random=os.urandom, now=1_700_000_000, age_identity=AGE_IDENTITY, age_recipient="age1qqqs"
    )


def nobody(subject: str) -> bytes:
    raise AssertionError(f"asked for the passphrase of {subject}")


class Answering:
    """Gives one passphrase, and counts how often it was asked."""

    def __init__(self, phrase: bytes) -> None:
        self.phrase = phrase
        self.asked: list[str] = []

    def __call__(self, subject: str) -> bytes:
        self.asked.append(subject)
        return self.phrase


def test_an_identity_comes_back_and_signs_as_before(tmp_path: Path) -> None:
    ana = made()
    path = tmp_path / "keys" / "ana.json"
    identity_file.save(ana, path, b"phrase", cost=CHEAP)
    again = identity_file.unlock(path, Answering(b"phrase"))
    assert again == ana
    assert again.age_identity == AGE_IDENTITY
    assert again.created == 1_700_000_000
    assert again.sign(b"m") == ana.sign(b"m")
    assert ed25519.verify(again.public, again.sign(b"m"), b"m")
    assert again.key_id == ed25519.key_id(again.public)


def test_the_default_cost_is_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase")
    assert b'"iterations":3,"kind":"argon2id","lanes":4,"memory_kib":65536' in path.read_bytes()


def test_two_saves_share_neither_salt_nor_nonce(tmp_path: Path) -> None:
    ana = made()
    for name in ("a", "b"):
        identity_file.save(ana, tmp_path / name, b"phrase", cost=CHEAP)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_the_public_half_needs_no_passphrase(tmp_path: Path) -> None:
    ana = made()
    for name, phrase in (("locked", b"phrase"), ("open", None)):
        identity_file.save(ana, tmp_path / name, phrase, cost=CHEAP)
        public = identity_file.read_public(tmp_path / name)
        assert (public.name, public.public, public.key_id) == ("ana", ana.public, ana.key_id)
        assert public.recipient == "age1qqqs"
        assert public.protected is (phrase is not None)


def test_the_file_is_its_owners_alone_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            modes.append(stat.S_IMODE(status.st_mode))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    before = os.umask(0)
    try:
        identity_file.save(made(), tmp_path / "new" / "ana.json", None)
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "new" / "ana.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    path.write_bytes(b"precious")
    with pytest.raises(Conflict) as refusal:
        identity_file.save(made(), path, None)
    assert refusal.value.subject == str(path)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["ana.json"]


def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "ana.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        identity_file.save(made(), tmp_path / "ana.json", None)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("code", ["EPERM", "EOPNOTSUPP"])
def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def link(source: object, target: object) -> None:
        raise OSError(getattr(errno, code), "no links here")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, None)
    assert identity_file.read_public(path).name == "ana"
    with pytest.raises(Conflict):
        identity_file.save(made(), path, None)
    assert os.listdir(tmp_path) == ["ana.json"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Unavailable) as refusal:
        identity_file.save(made(), tmp_path / "ana.json", None)
    assert refusal.value.code == "storage-full"
    assert os.listdir(tmp_path) == []


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable) as refusal:
        identity_file.save(made(), tmp_path / "file" / "ana.json", None)
    assert refusal.value.code == "storage-denied"


@pytest.mark.parametrize("phrase", [None, b""])
def test_an_empty_passphrase_leaves_the_file_unprotected(tmp_path: Path, phrase: bytes | None) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, phrase)
    ana = identity_file.unlock(path, nobody)
    assert ana.warnings == ()


def test_an_unprotected_file_that_others_may_read_gives_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, None)
    path.chmod(0o644)
    (warning,) = identity_file.unlock(path, nobody).warnings
    assert f"chmod 600 {path}" in warning


def test_a_protected_file_that_others_may_read_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    path.chmod(0o644)
    assert identity_file.unlock(path, Answering(b"phrase")).warnings == ()


def test_an_identity_is_unlocked_once_per_process(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    answer = Answering(b"phrase")
    first = identity_file.unlock(path, answer)
    (tmp_path / "link.json").symlink_to(path)
    assert identity_file.unlock(tmp_path / "link.json", answer) is first
    assert answer.asked == [f"ana ({path})"]


def test_threads_that_unlock_at_once_ask_once(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    answer = Answering(b"phrase")
    threads = [threading.Thread(target=identity_file.unlock, args=(path, answer)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answer.asked) == 1


def test_another_file_at_the_same_path_is_unlocked_anew(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    first = identity_file.unlock(path, Answering(b"phrase"))
    second = made("bob")
    identity_file.save(second, tmp_path / "bob.json", b"another", cost=CHEAP)
    (tmp_path / "bob.json").replace(path)
    answer = Answering(b"another")
    assert identity_file.unlock(path, answer) == second != first
    assert len(answer.asked) == 1


def test_a_wrong_passphrase_is_not_remembered_and_may_be_corrected(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    with pytest.raises(NoUsableKey) as refusal:
        identity_file.unlock(path, Answering(b"wrong"))
    assert refusal.value.exit_status == 8
    assert identity_file.unlock(path, Answering(b"phrase")).name == "ana"


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    for read in (identity_file.read_public, lambda path: identity_file.unlock(path, nobody)):
        with pytest.raises(NoUsableKey) as refusal:
            read(tmp_path / "none.json")
        assert "mvault identity new" in refusal.value.hint


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(Malformed) as refusal:
            identity_file.read_public(path)
        assert refusal.value.code == "malformed-identity"


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Malformed, match="larger than") as refusal:
        identity_file.unlock(path, nobody)
    assert refusal.value.code == "malformed-identity"


def test_a_damaged_file_is_told_from_a_wrong_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "ana.json"
    identity_file.save(made(), path, b"phrase", cost=CHEAP)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Malformed) as refusal:
        identity_file.unlock(path, nobody)
    assert refusal.value.code == "malformed-identity"


def test_a_name_that_is_no_principals_is_refused() -> None:
    with pytest.raises(Malformed) as refusal:
        made("../ana")
    assert refusal.value.code == "malformed-name"


def test_printing_an_identity_shows_no_secret(tmp_path: Path) -> None:
    ana = made()
    assert "AGE-SECRET" not in f"{ana} {ana!r}"
    assert "rivate" not in repr(ana)


def test_an_identity_does_not_leave_the_process_by_accident() -> None:
    with pytest.raises(TypeError):
        copy.copy(made())
    with pytest.raises(TypeError):
        copy.deepcopy(made())


def test_a_key_for_another_purpose_tells_nothing_of_the_identity() -> None:
    ana = made()
    assert not isinstance(ana._private, identity_file.Remote)
    seed = ana._private.private_bytes_raw()
    extracted = hmac.digest(bytes(32), seed, "sha256")  # RFC 5869, without salt
    expected = Ed25519PrivateKey.from_private_bytes(hmac.digest(extracted, b"log\x00a\x01", "sha256"))
    derived = ana.derive(b"log\x00a")
    assert derived.public == expected.public_key().public_bytes_raw()
    assert ed25519.verify(derived.public, derived.sign(b"m"), b"m")
    assert len({ana.public, derived.public, ana.derive(b"log\x00b").public}) == 3
    assert "rivate" not in repr(derived)
    with pytest.raises(TypeError):
        copy.copy(derived)


# --- another passphrase ---


def saved(tmp_path: Path, phrase: bytes | None = b"old") -> tuple[Identity, Path]:
    ana, path = made(), tmp_path / "ana.json"
    identity_file.save(ana, path, phrase, cost=CHEAP)
    return ana, path


def protect(path: Path, old: bytes, new: bytes | None) -> Identity:
    return identity_file.protect(path, Answering(old), lambda _: new, cost=CHEAP)


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("after", [b"new", b"", None])
def test_a_passphrase_is_changed_given_and_taken_away_and_the_keys_stay(
    tmp_path: Path, before: bytes | None, after: bytes | None
) -> None:
    ana, path = saved(tmp_path, before)
    assert protect(path, b"old", after) == ana
    again = identity_file.unlock(path, Answering(b"new"))
    assert (again, again.age_identity, again.created) == (ana, AGE_IDENTITY, ana.created)
    assert identity_file.read_public(path).protected is bool(after)
    if after:
        with pytest.raises(NoUsableKey):
            identity_file.protect(path, Answering(b"old"), lambda _: b"third", cost=CHEAP)
    assert os.listdir(tmp_path) == ["ana.json"]


def test_the_new_passphrase_is_asked_for_only_after_the_old_one_was_right(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(NoUsableKey):
        identity_file.protect(path, Answering(b"wrong"), lambda _: pytest.fail("asked"), cost=CHEAP)
    assert path.read_bytes() == before
    _, other = saved(tmp_path / "plain", None)
    identity_file.protect(other, nobody, lambda _: b"new", cost=CHEAP)


def test_owner_mode_and_a_link_to_the_file_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = saved(tmp_path)
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    protect(link, b"old", b"new")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    protect(link, b"new", None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "without a passphrase the mode is what protects it"
    given = []
    monkeypatch.setattr(os, "chown", lambda _, user, group: given.append((user, group)))
    real = os.stat

    def somebody_elses(place: Path, **options: bool) -> os.stat_result:
        found = real(place, **options)
        if "tmp" in str(place).rpartition("/")[2]:
            return os.stat_result([*found[:4], 12_345, *found[5:]])
        return found

    monkeypatch.setattr(os, "stat", somebody_elses)
    protect(path, b"", b"new")
    assert given == [(path.stat().st_uid, path.stat().st_gid)]


@pytest.mark.parametrize("verb", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "storage-full"), (errno.EACCES, "storage-denied")]
)
def test_a_file_that_cannot_be_replaced_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, number: int, code: str
) -> None:
    _, path = saved(tmp_path)
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, verb, broken)
        with pytest.raises(Unavailable) as caught:
            protect(path, b"old", b"new")
    assert caught.value.code == code
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["ana.json"]


def test_a_new_file_that_does_not_open_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a disk gives back other bytes than it took."""
    _, path = saved(tmp_path)
    before = path.read_bytes()
    real = identity_file._write_new

    def damaged(place: Path, data: bytes) -> None:
        real(place, data[:-40] + b"A" * 8 + data[-32:])

    with monkeypatch.context() as patch:
        patch.setattr(identity_file, "_write_new", damaged)
        with pytest.raises((NoUsableKey, Malformed)):
            protect(path, b"old", b"new")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["ana.json"]


def test_a_file_that_somebody_changes_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    _, path = saved(tmp_path)

    def meanwhile(_: Identity) -> bytes:
        path.unlink()
        identity_file.save(made("bob"), path, None)
        return b"new"

    with pytest.raises(Conflict, match="changed by somebody else"):
        identity_file.protect(path, Answering(b"old"), meanwhile, cost=CHEAP)
    assert identity_file.read_public(path).name == "bob"
    assert os.listdir(tmp_path) == ["ana.json"]


def test_the_old_file_is_there_until_the_new_one_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = saved(tmp_path)
    before = path.read_bytes()
    done: list[str] = []

    def watch(verb: str) -> None:
        real = getattr(os, verb)

        def call(*arguments: object) -> object:
            assert (path.read_bytes() == before) == ("replace" not in done)
            done.append(verb)
            return real(*arguments)

        monkeypatch.setattr(os, verb, call)

    watch("fsync")
    watch("replace")
    protect(path, b"old", b"new")
    assert done == ["fsync", "replace", "fsync"]
