"""Builds the image with podman from the Dockerfile as it is, and runs it as ECS would, per variant (`--variant`).

Non-root, no capabilities, a read-only root, volumes for configuration, models and cache; cameras from a local KVS (the
same image's `sim`), events to a local AWS (moto).

Without a GPU the GPU image must say why it runs on the CPU, and work; and refuse where `device: cuda` asks for one.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from checks.commands import Word, run
from checks.image.podman import container, free_port, inside, logs, podman, until
from checks.image.surroundings import USER, client, local_aws, local_kvs, records, volumes
from checks.repository import ROOT
from checks.tables import assert_none

# Unpacked; docs/container.md names them.
MAX_BYTES = {"cpu": 300e6, "gpu": 2.6e9}
MAX_DRAIN_S = 10
NO_DRIVER = "no NVIDIA driver here (libcuda.so.1 is missing)"


def test_hadolint() -> None:
    ran = run([Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"])
    assert_none(ran.stdout.splitlines())


# --- the image, without running the program --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def image(variant: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Builds the image, and returns its name."""
    name = f"localhost/kvs-infer:test-{variant}"
    file = tmp_path_factory.mktemp("image") / f"{variant}.Dockerfile"
    # The stand-ins have the tags of the base images, not their digests.
    file.write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / "Dockerfile").read_text()))
    flags = f"BUILD_FLAGS=--pull=never --network host --file={file}"
    command: list[Word] = [
        "make",
        "-C",
        ROOT,
        "docker-build",
        f"IMG={name}",
        f"VARIANT={variant}",
        "DOCKER=podman",
        flags,
    ]
    subprocess.run(command, check=True)
    return name


@pytest.fixture(scope="session")
def about(image: str) -> dict[str, Any]:
    """Returns podman's description of the image."""
    described: dict[str, Any] = json.loads(podman("image", "inspect", image))[0]
    return described


def test_the_image_is_small(variant: str, about: dict[str, Any]) -> None:
    print(f"{variant}: {about['Size'] / 1e6:.0f} MB unpacked, at most {MAX_BYTES[variant] / 1e6:.0f}")
    assert about["Size"] <= MAX_BYTES[variant]


def test_the_user_is_not_root(about: dict[str, Any]) -> None:
    assert about["Config"]["User"] == f"{USER}:{USER}"


def test_port_8080_is_exposed(about: dict[str, Any]) -> None:
    assert "8080/tcp" in about["Config"]["ExposedPorts"]


def test_the_health_check_is_the_programs(about: dict[str, Any]) -> None:
    # Where podman has it, and how it spells it, depends on its version.
    places = (about.get("HealthCheck"), about.get("Healthcheck"), about["Config"].get("Healthcheck"))
    check: dict[str, Any] = next(filter(None, places), {})
    assert check.get("Test") == ["CMD", "kvs-infer", "healthcheck"]


def test_one_file_has_all_licences(variant: str, image: str) -> None:
    text = inside(image, "cat /usr/share/doc/kvs-infer/LICENCES")
    parts = ["Apache License", "LGPL version 2.1", "onnxruntime", "==== tokio ", "GNU C Library"]
    parts += ["NVIDIA"] if variant == "gpu" else ["Third Party Programs File"]
    assert_none(f"{part!r} is missing" for part in parts if part not in text)


def test_the_bill_of_materials_has_all_kinds(image: str) -> None:
    parts = json.loads(inside(image, "cat /usr/share/doc/kvs-infer/sbom.json"))["components"]
    kinds = {kind: sum(part["purl"].startswith(f"pkg:{kind}/") for part in parts) for kind in ("cargo", "deb", "pypi")}
    assert all(kinds.values()), kinds
    assert {part["name"] for part in parts} >= {"tokio", "ffmpeg", "tini"}


def test_only_the_drivers_library_is_missing(image: str) -> None:
    libraries = "/usr/local/bin/kvs-infer /opt/ffmpeg/lib/*.so.* $(find /opt/onnxruntime -name '*.so*')"
    lines = inside(image, f"ldd {libraries}").splitlines()
    assert {line.split()[0] for line in lines if "not found" in line} <= {"libcuda.so.1"}


def test_bash_and_curl_are_there(image: str) -> None:
    assert "curl" in inside(image, "curl --version")


def test_only_tini_and_the_program_run(about: dict[str, Any]) -> None:
    assert about["Config"]["Entrypoint"] == ["tini", "--", "kvs-infer"]


# --- the task, from its start to its stop: the tests of one variant share it, and the last of them stops it ----------


@dataclass(frozen=True)
class Task:
    """A running container of the image, and the address of its AWS."""

    name: str
    port: int
    aws: str


@pytest.fixture(scope="session")
def aws(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Runs a local AWS for a variant."""
    with local_aws(tmp_path_factory.mktemp("aws")) as address:
        yield address


@pytest.fixture(scope="session")
def environment(image: str, aws: str) -> Iterator[dict[str, str]]:
    """Runs a local KVS, and returns the variables of a task."""
    with local_kvs(image) as kvs:
        yield {"LOG_FORMAT": "json", "AWS_ENDPOINT_URL": aws, "AWS_ENDPOINT_URL_KINESIS_VIDEO": kvs}


@pytest.fixture(scope="session")
def task(image: str, aws: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """Starts the task."""
    port = free_port()
    flags = volumes(tmp_path_factory.mktemp("auto"), "auto")
    with container(image, flags=flags, environment=environment | {"HTTP_PORT": str(port)}) as name:
        yield Task(name, port, aws)


@pytest.fixture(scope="session")
def healthy(task: Task) -> Task:
    """Waits until the health check of the task passes."""
    until("the health check passes", lambda: run(["podman", "healthcheck", "run", task.name]).returncode == 0)
    return task


def test_the_task_becomes_healthy(healthy: Task) -> None:
    assert healthy.name


def test_curl_finds_readyz_inside(healthy: Task) -> None:
    ready = ["exec", healthy.name, "curl", "-fsS", f"http://localhost:{healthy.port}/readyz"]
    assert "ready" in podman(*ready, check=False), logs(healthy.name)


def test_an_event_arrives_in_the_data_stream(healthy: Task) -> None:
    until("an event", lambda: records(healthy.aws))


def test_its_picture_arrives_in_the_bucket(healthy: Task) -> None:
    until("a picture", lambda: client(healthy.aws, "s3").list_objects_v2(Bucket="pictures").get("Contents"))


def test_its_record_arrives_in_the_table(healthy: Task) -> None:
    until("a record", lambda: client(healthy.aws, "dynamodb").scan(TableName="incidents")["Items"])


def test_it_has_no_root_no_capability_and_no_new_privilege(healthy: Task) -> None:
    fields = "^(Uid|CapEff|CapBnd|NoNewPrivs)"
    status = podman("exec", healthy.name, "grep", "-E", fields, "/proc/1/status").split()
    wanted = ["Uid:", *[str(USER)] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert status == wanted


def test_it_can_write_to_tmp_and_the_cache_alone(healthy: Task) -> None:
    script = "touch /usr/x /app/x 2>&1; touch /tmp/x /app/.cache/x && echo could"
    lines = podman("exec", healthy.name, "bash", "-c", script, check=False).splitlines()
    assert len(lines) == 3, lines
    assert lines[2] == "could"


def test_it_says_why_it_runs_on_the_cpu_without_a_gpu(variant: str, healthy: Task) -> None:
    if variant == "cpu":
        pytest.skip("the CPU image has no other device")
    assert NO_DRIVER in logs(healthy.name)


def test_sigterm_drains_it(healthy: Task) -> None:
    began = time.monotonic()
    podman("stop", "--time=30", healthy.name)
    took_s = time.monotonic() - began
    print(f"SIGTERM drains in {took_s:.1f} s, at most {MAX_DRAIN_S}")
    assert took_s < MAX_DRAIN_S
    assert podman("inspect", "--format={{.State.ExitCode}}", healthy.name) == "0"


# --- `device: cuda` without a GPU is an error, not a slow service ----------------------------------------------------


@pytest.fixture(scope="session")
def refused(image: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Runs the task with `device: cuda` to its end, and returns its exit code and log."""
    flags = volumes(tmp_path_factory.mktemp("cuda"), "cuda")
    with container(image, flags=flags, environment=environment | {"HTTP_PORT": str(free_port())}) as name:
        return podman("wait", name), logs(name)


def test_cuda_is_refused(refused: tuple[str, str]) -> None:
    assert refused[0] == "78", refused[1]


def test_the_refusal_says_what_is_missing(variant: str, refused: tuple[str, str]) -> None:
    assert {"cpu": "CUDA", "gpu": NO_DRIVER}[variant] in refused[1]
