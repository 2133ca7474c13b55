"""scripts/image/renew-digests where the registry answers, and where it does not."""

import hashlib
import shutil
from pathlib import Path

import pytest

from checks.commands import first_in_path, run, write_program
from checks.repository import ROOT
from checks.tables import rows

PINNED = ("Dockerfile", "deployment/monitoring/compose.yaml")
SCRIPT = "scripts/image/renew-digests"
# A stand-in for skopeo, the exit code, and how many images then have the digest of its answer.
CASES = {"newer images": ("printf 'a manifest'", 0, 4), "no registry": ("exit 1", 1, 0)}


@pytest.mark.parametrize(("skopeo", "code", "renewed"), rows(CASES))
def test_renew_digests(tmp_path: Path, skopeo: str, code: int, renewed: int) -> None:
    for file in (*PINNED, SCRIPT):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    write_program(tmp_path / "skopeo", f"#!/bin/bash\n{skopeo}\n")
    assert run([tmp_path / SCRIPT], environment=first_in_path(tmp_path)).returncode == code
    digest = hashlib.sha256(b"a manifest").hexdigest()
    assert sum((tmp_path / file).read_text().count(f"@sha256:{digest}") for file in PINNED) == renewed
