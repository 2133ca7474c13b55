"""podman as ECS would use it: containers without privileges, and their logs."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from checks.commands import run

Found = TypeVar("Found")
PATIENCE_S = 90
AS_ON_ECS = [
    "--network=host",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--pull=never",
]
KEYS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def podman(*arguments: str, check: bool = True) -> str:
    """Returns what podman prints on standard output; fails the test where it fails, unless `check` is off."""
    ran = run(["podman", *arguments])
    assert not check or ran.returncode == 0, f"podman {' '.join(arguments)}: {ran.stderr}"
    return ran.stdout.strip()


def logs(container: str) -> str:
    """Returns all that a container has written, on both outputs in their order."""
    command = ["podman", "logs", container]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


def inside(image: str, script: str) -> str:
    """Returns what a script prints in a new container of the image."""
    return podman("run", "--rm", *AS_ON_ECS, "--entrypoint=bash", image, "-c", script)


@contextmanager
def container(
    image: str, *arguments: str, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Runs a container, and removes it at the end; gives its name."""
    settings = [f"--env={name}={value}" for name, value in (KEYS | dict(environment or {})).items()]
    name = podman("run", "--detach", *AS_ON_ECS, *settings, *flags, image, *arguments)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time=0", name, check=False)


def free_port() -> int:
    """Returns a port that no one listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Returns whether someone listens on a port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def until(what: str, ready: Callable[[], Found | None]) -> Found:
    """Polls until `ready` returns something, and returns it; fails the test if it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")
