"""Least privilege in S3: each role's credentials suffice for its work, and for nothing else.

Twice: with the identities of SeaweedFS, and with the policies of examples/iam as moto applies them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

import vault
from tests.conformance.creating_suite import get, put
from tests.servers.moto import MotoServer, moto, moto_user  # noqa: F401
from tests.servers.seaweed import RIGHTS_BUCKET, SeaweedServer, seaweed  # noqa: F401
from vault.core import limits
from vault.errors import Unavailable
from vault.storage.opening import open_store

EXAMPLES = Path(__file__).parents[2] / "examples" / "iam"
ROLES = ("auditor", "loader", "promoter", "publisher")
LARGE = Random(0).randbytes(9 * limits.MIB)  # so that it is published in parts


@dataclass(frozen=True)
class Rights:
    """A vault that was made by somebody who may do everything; `become` takes a role's credentials."""

    url: str
    become: Callable[[str], None]


def policy(role: str, bucket: str) -> dict[str, object]:
    """Give the example's policy with its placeholders filled in."""
    text = (EXAMPLES / f"{role}.json").read_text()
    for placeholder, value in (
        ("BUCKET", bucket),
        ("PREFIX", "v"),
        ("ENVIRONMENT", "prod"),
        ("PRINCIPAL", role),
    ):
        text = text.replace(placeholder, value)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module", params=["seaweed", "moto"])
def rights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rights]:
    folder = tmp_path_factory.mktemp("rights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVAULT_CONFIG_DIR", str(folder / "config"))
        patch.setenv("MVAULT_STATE_DIR", str(folder / "state"))
        if request.param == "seaweed":
            server: SeaweedServer = request.getfixturevalue("seaweed")
            server.client().create_bucket(Bucket=RIGHTS_BUCKET)

            def become(role: str) -> None:
                for name, value in server.environment(role).items():
                    patch.setenv(name, value)

            become("admin")
            _found(server.url(RIGHTS_BUCKET, "v"), folder)
            yield Rights(server.url(RIGHTS_BUCKET, "v"), become)
            become("admin")
            return
        cloud: MotoServer = request.getfixturevalue("moto")
        bucket = cloud.new_bucket()
        users = {role: cloud.new_user(policy(role, bucket)) for role in (*ROLES, "owner")}

        def become_user(role: str) -> None:
            for name, value in users[role].items():
                patch.setenv(name, value)

        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        become_user("owner")
        with cloud.enforcing():
            _found(cloud.url(bucket, "v"), folder)
            yield Rights(cloud.url(bucket, "v"), become_user)


def _found(url: str, folder: Path) -> None:
    """Make a vault with one version in prod, which takes every right of its owner."""
    (folder / "large.bin").write_bytes(LARGE)
    opened = vault.init(url, no_passphrase=True, recipient="x25519")
    opened.push("churn", folder / "large.bin")
    opened.promote("churn:1", env="prod")


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_read_what_a_load_needs(rights: Rights, role: str) -> None:
    rights.become(role)
    opened = vault.open(rights.url)
    assert opened.load_package("churn@prod").read("large.bin") == LARGE
    assert opened.check("churn:1").whole


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("auditor", "log/access/loader/1/x"),
        ("auditor", "models/m/@/1/x"),
        ("loader", "models/m/@/1/x"),
        ("loader", "channels/prod/main/churn/@/000009.json"),
        ("loader", "trust/policy/000009.json"),
        ("loader", "log/access/somebody-else/1/x"),
        ("publisher", "channels/prod/main/churn/@/000009.json"),
        ("publisher", "trust/policy/000009.json"),
        ("promoter", "trust/policy/000009.json"),
        ("promoter", "keys/prod/all/1/x/y.age"),
    ],
)
@pytest.mark.parametrize("content", [b"x", LARGE], ids=["small", "large"])
def test_a_write_beyond_a_role_is_denied_clearly(
    rights: Rights, role: str, name: str, content: bytes
) -> None:
    rights.become(role)
    store = open_store(rights.url)
    with pytest.raises(Unavailable) as caught:
        put(store, name, content)
    assert caught.value.code == "storage-denied"
    assert "s3:PutObject" in caught.value.hint
    assert "docs/storage/s3.md" in caught.value.hint
    assert name not in list(store.list(""))


@pytest.mark.parametrize("role", ROLES)
def test_nobody_deletes(rights: Rights, role: str) -> None:
    rights.become(role)
    store = open_store(rights.url)
    with pytest.raises(Unavailable) as caught:
        store.delete("vault.json")
    assert caught.value.code == "storage-denied"
    assert store.stat("vault.json").size > 0


def test_a_loader_logs_its_own_loads(rights: Rights) -> None:
    rights.become("loader")
    store = open_store(rights.url)
    put(store, "log/access/loader/1/commit/000001", b"x")
    assert get(store, "log/access/loader/1/commit/000001") == b"x"


def test_a_publisher_publishes_and_does_not_promote(rights: Rights, tmp_path: Path) -> None:
    rights.become("publisher")
    (tmp_path / "large.bin").write_bytes(LARGE[::-1])
    opened = vault.open(rights.url)
    reference = opened.push("churn", tmp_path / "large.bin")
    with pytest.raises(Unavailable) as caught:
        opened.promote(reference, env="prod")
    assert caught.value.code == "storage-denied"
    assert opened.load_package("churn@prod").read("large.bin") == LARGE
    rights.become("promoter")
    opened = vault.open(rights.url)
    opened.promote(reference, env="prod")
    assert opened.load_package("churn@prod").read("large.bin") == LARGE[::-1]
    opened.promote("churn:1", env="prod")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_no_example_lets_anybody_delete_or_do_everything(example: Path) -> None:
    statements = json.loads(example.read_text()).get("Statement", [])
    allowed = [action for each in statements if each["Effect"] == "Allow" for action in each["Action"]]
    assert not [action for action in allowed if "Delete" in action or "*" in action]
    assert not [each for each in statements if each["Effect"] == "Allow" and "*" in each["Resource"]]


def test_there_is_an_example_for_every_role() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} >= {*ROLES, "owner", "bucket-policy", "lifecycle"}
