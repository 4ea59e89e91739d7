"""examples/container, /kubernetes and /kserve: what runs in a container runs here as in one.

No container engine is needed: `container_box` does what one does. What an image is built from is read from
the Dockerfiles, what a pod is given from the manifests.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import container_box
from tests.e2e.container_box import UID, Box
from tests.e2e.deployed_parts import ROWS, Deployed, deploy
from tests.house.source_tree import ROOT
from tests.servers.loopback import free_port

EXAMPLES = ROOT / "examples"
MEMORY = "/models"
SECRETS = "/run/secrets"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Give a vault with churn:1 in prod, and the service's files as secrets are mounted."""
    found = deploy(tmp_path_factory.mktemp("deployed") / "work")
    found.release(0)
    container_box.needed()
    container_box.own(found.identity)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def box(deployed: Deployed, *more: tuple[Path, str], memory: Sequence[str] = ()) -> Box:
    return Box(
        {
            deployed.vault: "/vault",
            deployed.identity: f"{SECRETS}/vault/identity.json",
            deployed.trust: f"{SECRETS}/trust/trust.json",
            **dict(more),
        },
        memory,
    )


def settings(**more: str) -> dict[str, str]:
    """Give exactly three settings, as the examples name them, and the PATH that an image sets."""
    return {
        "PATH": container_box.path(),
        "MVAULT_VAULT": "/vault",
        "MVAULT_IDENTITY": f"{SECRETS}/vault/identity.json",
        "MVAULT_TRUST": f"{SECRETS}/trust/trust.json",
        **more,
    }


def dockerfile(name: str) -> list[tuple[str, str]]:
    """Give a Dockerfile's instructions, those of its last stage."""
    text = (EXAMPLES / name / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def test_the_box_is_a_container(root: Path) -> None:
    """Else what passes in it would say little."""
    container_box.needed()
    script = "id -u; id -G; touch /x /tmp/x /usr/x /dev/x; env; ls /; cat /etc/shadow; touch /models/x && "
    script += "echo wrote"
    done = Box(memory=[MEMORY]).run(root, ["sh", "-c", script], {"PATH": "/usr/bin:/bin", "ONE": "1"})
    assert done.stdout.splitlines()[:2] == [str(UID)] * 2
    assert done.stderr.count("Read-only file system") + done.stderr.count("No such file") == 4
    assert "Permission denied" in done.stderr
    assert "ONE=1" in done.stdout
    assert not re.search(r"^(HOME|USER|TMPDIR|MVAULT_\w+)=", done.stdout, re.MULTILINE)
    assert "home" not in done.stdout.split()
    assert done.stdout.endswith("wrote\n")


# --- the container image ---


def test_the_images_hold_no_setting_and_run_as_nobody_in_particular() -> None:
    for name in ("container", "kserve"):
        stage = dockerfile(name)
        assert "MVAULT_" not in str(stage)
        assert dict(stage)["USER"] == "65532:65532"
        copied = [rest.split()[-2:] for word, rest in stage if word == "COPY"]
        for source, _ in copied:
            assert source == "/opt/venv" or (ROOT / source).is_file()


@contextmanager
def serving(deployed: Deployed, root: Path) -> Iterator[str]:
    """Run the image's own command, on another port and on loopback."""
    stage = dockerfile("container")
    (place,) = [rest.split()[1] for word, rest in stage if word == "COPY" and "service.py" in rest]
    port = free_port()
    command = json.loads(dict(stage)["CMD"])
    command = [{"0.0.0.0": "127.0.0.1", "8000": str(port)}.get(word, word) for word in command]
    inside = box(deployed, (EXAMPLES / "fastapi/service.py", place))
    with (root.parent / "log").open("wb") as log:
        process = subprocess.Popen(inside.command(root, command, settings()), stdout=log, stderr=log)
        try:
            yield answering(f"http://127.0.0.1:{port}", process, root.parent / "log")
        finally:
            process.terminate()
            process.wait(timeout=30)


def answering(url: str, process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + 60
    while True:
        try:
            get(f"{url}/live")
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        else:
            return url


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def predict(url: str) -> Any:
    body = json.dumps({"rows": ROWS}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_container_serves_with_exactly_three_settings(deployed: Deployed, root: Path) -> None:
    """Read-only file system, no home, a user id that nobody knows."""
    pytest.importorskip("fastapi")
    with serving(deployed, root) as url:
        found = predict(url)
        assert found["version"] == "churn:1"
        assert len(found["predictions"]) == len(ROWS)
        assert get(f"{url}/ready")["error"] is None


def test_the_run_script_gives_docker_three_settings_and_nothing_to_write_to(
    deployed: Deployed, tmp_path: Path
) -> None:
    """`docker` is not asked for here: what it would be told is looked at."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    script = EXAMPLES / "container/run.sh"
    for location, mounted in ((str(deployed.vault), True), ("s3://models/vault?region=eu", False)):
        done = subprocess.run(
            [script, location, deployed.identity, deployed.trust],
            env={"PATH": "/usr/bin:/bin", "DOCKER": str(docker)},
            capture_output=True,
            text=True,
            check=True,
        )
        told = done.stdout.splitlines()
        given = [told[place + 1] for place, word in enumerate(told) if word == "--env"]
        volumes = [told[place + 1] for place, word in enumerate(told) if word == "--volume"]
        assert [entry.partition("=")[0] for entry in given] == [
            "MVAULT_VAULT",
            "MVAULT_IDENTITY",
            "MVAULT_TRUST",
        ]
        assert given[0] == f"MVAULT_VAULT={location}"
        assert all(volume.endswith(":ro") for volume in volumes)
        assert len(volumes) == 2 + mounted
        assert {"--read-only", "ALL", "no-new-privileges", "54321:54321"} <= set(told)
    assert subprocess.run([script], capture_output=True, check=False).returncode == 2


# --- Kubernetes ---


def manifests(name: str) -> list[Any]:
    import yaml

    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


@pytest.fixture
def pod() -> Mapping[str, Any]:
    (deployment,) = manifests("kubernetes/deployment.yaml")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    found: Mapping[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def test_the_pods_model_lies_in_memory_and_its_server_has_no_key(pod: Mapping[str, Any]) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["models"]["emptyDir"]["medium"] == "Memory"
    (init,) = pod["initContainers"]
    (server,) = pod["containers"]
    assert {mount["name"] for mount in init["volumeMounts"]} == set(volumes)
    assert [(mount["name"], mount["readOnly"]) for mount in server["volumeMounts"]] == [("models", True)]
    assert "env" not in server
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (init, server):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_init_containers_command_fills_the_volume_in_memory_and_may_be_run_again(
    deployed: Deployed, root: Path, pod: Mapping[str, Any]
) -> None:
    (init,) = pod["initContainers"]
    given = {entry["name"]: entry["value"] for entry in init["env"]}
    assert {**given, "PATH": "", "MVAULT_VAULT": ""} == {**settings(), "PATH": "", "MVAULT_VAULT": ""}
    mounts = {mount["name"]: mount["mountPath"] for mount in init["volumeMounts"]}
    inside = Box(
        {
            deployed.vault: "/vault",
            deployed.identity: f"{mounts['identity']}/identity.json",
            deployed.trust: f"{mounts['trust']}/trust.json",
        },
        [mounts["models"]],
    )
    once = " ".join(f"'{word}'" for word in init["command"])
    script = (
        f"{once} && {once} && stat -f -c %T /models && find /models -type f && cat /models/churn/model.onnx"
    )
    done = subprocess.run(
        inside.command(root, ["sh", "-c", script], settings()), capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert b"tmpfs\n/models/churn/" in done.stdout
    with deployed.as_owner() as opened:
        genuine = opened.load_package("churn:1").read("model.onnx")
    assert done.stdout.endswith(genuine)


def test_an_altered_model_ends_the_init_container_and_leaves_nothing(
    deployed: Deployed, root: Path, pod: Mapping[str, Any], tmp_path: Path
) -> None:
    copy = altered(deployed, tmp_path)
    (init,) = pod["initContainers"]
    script = " ".join(f"'{word}'" for word in init["command"]) + "; echo status $?; ls /models/churn"
    done = box(copy, memory=[MEMORY]).run(root, ["sh", "-c", script], settings())
    assert done.stdout.splitlines()[0] == "status 3"
    assert "was altered in storage" in done.stderr
    assert not re.search(r"model", "\n".join(done.stdout.splitlines()[1:]))


def altered(deployed: Deployed, folder: Path) -> Deployed:
    """Give a copy whose model's bytes were changed in the storage."""
    shutil.copytree(deployed.folder, folder / "altered")
    copy = Deployed(folder / "altered")
    container_box.own(copy.identity)
    for path in copy.vault.glob("models/churn/@/1/files/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return copy


# --- KServe ---


def test_kserve_finds_the_container_by_its_prefix() -> None:
    (container,) = manifests("kserve/storage-container.yaml")
    (service,) = manifests("kserve/inference-service.yaml")
    spec = container["spec"]["container"]
    assert spec["name"] == "storage-initializer"
    (known,) = container["spec"]["supportedUriFormats"]
    assert service["spec"]["predictor"]["model"]["storageUri"].startswith(known["prefix"])
    assert {mount["name"] for mount in spec["volumeMounts"]} == {
        volume["name"] for volume in service["spec"]["predictor"]["volumes"]
    }
    given = {entry["name"]: entry["value"] for entry in spec["env"]}
    assert {**given, "PATH": "", "MVAULT_VAULT": ""} == {**settings(), "PATH": "", "MVAULT_VAULT": ""}


def kserve(
    deployed: Deployed, root: Path, *arguments: str, then: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Call the image's entry point as KServe does: URI and folder, in a read-only container."""
    (entry,) = json.loads(dict(dockerfile("kserve"))["ENTRYPOINT"])
    inside = box(deployed, (EXAMPLES / "kserve/kserve-pull", entry), memory=["/mnt/models", "/mnt/other"])
    script = f'"$@"; status=$?; {then or "find /mnt -type f"}; exit $status'
    return inside.run(root, ["sh", "-c", script, "sh", entry, *arguments], settings(**more))


@pytest.mark.parametrize("uri", ["mvault://churn@prod", "mvault://churn:1", "mvault://churn@prod/main"])
def test_kserve_gets_verified_files_for_a_uri(deployed: Deployed, root: Path, uri: str) -> None:
    assert uri.startswith(
        manifests("kserve/storage-container.yaml")[0]["spec"]["supportedUriFormats"][0]["prefix"]
    )
    done = kserve(deployed, root, uri, "/mnt/models")
    assert done.returncode == 0, done.stderr
    assert "/mnt/models/model.onnx" in done.stdout.splitlines()


def test_kserve_gets_several_and_may_call_again_over_what_was_left(deployed: Deployed, root: Path) -> None:
    pair = ["mvault://churn@prod", "/mnt/models"]
    again = 'touch /mnt/models/left-over; "$@"; find /mnt -type f'
    done = kserve(deployed, root, *pair, "mvault://churn:1", "/mnt/other/", then=again)
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("/mnt/") and "model.onnx" in line]
    assert set(found) >= {"/mnt/models/model.onnx", "/mnt/other/model.onnx"}
    assert "left-over" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["mvault://churn@prod"],
        ["mvault://", "/mnt/models"],
        ["s3://bucket/model", "/mnt/models"],
        ["mvault://churn@prod", "mnt/models"],
        ["mvault://churn@prod", "/"],
        ["mvault://churn@prod?layout=other", "/mnt/models"],
        ["mvault://churn@prod", "/mnt/models", "mvault://churn@prod"],
    ],
)
def test_kserve_arguments_that_cannot_be_meant_are_refused(
    deployed: Deployed, root: Path, arguments: list[str]
) -> None:
    done = kserve(deployed, root, *arguments)
    assert done.returncode == 2
    assert "usage: kserve-pull mvault://" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("uri", ["mvault://--help", "mvault://-v", "mvault://$(touch /mnt/models/x)@prod"])
def test_a_uri_is_a_reference_and_no_option_or_command(deployed: Deployed, root: Path, uri: str) -> None:
    done = kserve(deployed, root, uri, "/mnt/models")
    assert done.returncode == 2
    assert done.stdout == ""


def test_kserve_gets_nothing_of_an_altered_model(deployed: Deployed, root: Path, tmp_path: Path) -> None:
    done = kserve(altered(deployed, tmp_path), root, "mvault://churn@prod", "/mnt/models")
    assert done.returncode == 3
    assert "was altered in storage" in done.stderr
    assert done.stdout == ""


def test_the_examples_images_are_nobodys() -> None:
    """Who copies an example and forgets to name an image gets none, and not a stranger's."""
    for name in ("kubernetes/deployment.yaml", "kserve/storage-container.yaml"):
        for image in re.findall(r"image: (\S+)", (EXAMPLES / name).read_text()):
            assert image.startswith("example.com/")
    assert os.access(EXAMPLES / "kserve/kserve-pull", os.X_OK)
