"""Runs programs, and writes stand-ins for them."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

Word = str | Path


def run(
    command: Sequence[Word],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, whatever its exit code; `environment` is added to this process's own."""
    around = os.environ | dict(environment or {})
    return subprocess.run(
        command, cwd=folder, env=around, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def output(ran: subprocess.CompletedProcess[str]) -> str:
    """Returns all that a program wrote, standard output first."""
    return ran.stdout + ran.stderr


def write_program(file: Path, text: str) -> Path:
    """Writes an executable script; its first line names the interpreter."""
    file.write_text(text)
    file.chmod(0o755)
    return file


def first_in_path(folder: Path) -> dict[str, str]:
    """Returns the variable that lets programs of a folder stand in for those of the machine."""
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
