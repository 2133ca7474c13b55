"""scripts/advisories.py with and without RustSec's database, for one crate that has an advisory in the list."""

import datetime
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from checks.commands import Word, first_in_path, output, run, write_program
from checks.repository import ROOT, read
from checks.tables import assert_none, expect, rows

UNREACHED = "echo '[ERROR] failed to fetch advisory database https://github.com/RustSec/advisory-db' >&2; exit 1"
CLEAN = "exit 0"
HIT = "echo 'error[vulnerability]: a weakness' >&2; exit 1"


@dataclass(frozen=True)
class Case:
    """A version of the crate, a stand-in for cargo, and what the script must do."""

    version: str
    code: int
    text: str
    cargo: str = UNREACHED
    options: tuple[str, ...] = ()
    day: str = ""


CASES = {
    "a weak crate, by the list": Case("1.2.2", 1, "RUSTSEC-2020-9999"),
    "the first patched one": Case("1.2.3", 0, "0 days old"),
    "a patched one": Case("1.10.0", 0, "cannot be fetched from here"),
    "weak again later": Case("2.0.0", 1, "RUSTSEC-2020-9999"),
    "a pre-release of the patched one": Case("1.2.3-rc.1", 1, "RUSTSEC-2020-9999"),
    "patched below 1": Case("0.3.9", 0, "0 days old"),
    "weak below 1": Case("0.4.0", 1, "RUSTSEC-2020-9999"),
    "too old to be affected": Case("0.1.9", 0, "0 days old"),
    "a list of long ago": Case("1.2.3", 1, "renew it", day="2020-01-01"),
    "no database, and it is asked for": Case("1.2.3", 1, "nothing was checked", options=("--strict",)),
    "the database has no entry": Case("1.2.2", 0, "as of today", cargo=CLEAN),
    "the database has an entry": Case("1.2.3", 1, "a weakness", cargo=HIT),
}
LOCK = '[[package]]\nname = "lzw"\nversion = "{version}"\nsource = "registry+https://example"\n'


@pytest.mark.parametrize("case", rows(CASES))
def test_advisories(tmp_path: Path, case: Case) -> None:
    write_program(tmp_path / "cargo", f"#!/bin/bash\n{case.cargo}\n")
    (tmp_path / "Cargo.lock").write_text(LOCK.format(version=case.version))
    shutil.copy(ROOT / "scripts/advisories.py", tmp_path)
    first = f"# of {case.day or datetime.date.today()}"
    (tmp_path / "advisories.txt").write_text(f"{first}\nlzw\tRUSTSEC-2020-9999\t>= 1.2.3, < 2|^0.3.1|< 0.2\n")
    command: list[Word] = [sys.executable, tmp_path / "advisories.py", "check", *case.options]
    ran = run(command, folder=tmp_path, environment=first_in_path(tmp_path))
    assert ran.returncode == case.code, output(ran)
    assert case.text in output(ran)


def test_the_list_is_complete() -> None:
    lines = read("scripts/advisories.txt").splitlines()
    found = expect(len(lines) > 500, f"{len(lines)} lines")
    assert_none(found + [f"not three columns: {line}" for line in lines[1:] if line.count("\t") != 2])
