"""Compares Cargo.lock with RustSec's advisories.

usage: advisories.py check           by cargo-deny with today's database; without it, by the list in advisories.txt
       advisories.py check --strict  only with today's database: without it the check fails
       advisories.py renew FOLDER    writes advisories.txt from a clone of https://github.com/RustSec/advisory-db

The list has all advisories that name a weakness, of all crates, so that it also holds for a crate that comes in later.
Its first line has its date.
"""

import datetime
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LIST = HERE / "advisories.txt"
NO_DATABASE = (
    "failed to fetch advisory database",
    "failed to load advisory database",
    "unable to find advisory database",
)
# Older than this the list is no check any more.
MAX_AGE_DAYS = 365
# The three numbers, whether it is a release, the identifiers of a pre-release.
Version = tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...]]


def matched(pattern: str, text: str, flags: int = 0) -> re.Match[str]:
    """Returns the first match of a pattern, which must be there."""
    found = re.search(pattern, text, flags)
    if found is None:
        raise ValueError(f"{pattern} is not in {text!r}")
    return found


def version(text: str) -> Version:
    """Returns a version in SemVer's order. A part that is not written is 0."""
    found = matched(r"^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?", text.strip())
    numbers = tuple(int(part or 0) for part in found.groups()[:3])
    before = (
        tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in found[4].split("."))
        if found[4]
        else ()
    )
    return numbers, found[4] is None, before


def behind(text: str, tilde: bool) -> Version:
    """Returns the first version that `^text` (or `~text`) does not take any more."""
    parts = [int(part) for part in matched(r"^[\d.]+", text.strip())[0].strip(".").split(".")]
    at = min(1, len(parts) - 1) if tilde else next((at for at, part in enumerate(parts) if part), len(parts) - 1)
    numbers = [*parts[:at], parts[at] + 1, 0, 0][:3]
    return tuple(numbers), False, ()


def meets(has: Version, requirement: str) -> bool:
    """Returns whether a version meets all comparators of a requirement, such as `>=1.2, <2`."""
    for comparator in requirement.split(","):
        operator, wanted = matched(r"^\s*(>=|<=|>|<|=|\^|~)?\s*(.+)", comparator).groups()
        low = version(wanted)
        fits = {">=": has >= low, "<=": has <= low, ">": has > low, "<": has < low, "=": has == low}
        if not (fits[operator] if operator in fits else low <= has < behind(wanted, operator == "~")):
            return False
    return True


def locked() -> list[tuple[str, str]]:
    """Returns the crates of Cargo.lock that come from a registry, with their versions."""
    text = pathlib.Path("Cargo.lock").read_text()
    return re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"\nsource = "registry', text, re.MULTILINE)


def listed() -> tuple[datetime.date, dict[str, list[tuple[str, list[str]]]]]:
    """Returns the day of the list, and its advisories by crate: id, patched and unaffected versions."""
    lines = LIST.read_text().splitlines()
    day = datetime.date.fromisoformat(matched(r"\d{4}-\d\d-\d\d", lines[0])[0])
    by_crate: dict[str, list[tuple[str, list[str]]]] = {}
    for line in lines[1:]:
        name, identity, fine = [*line.split("\t"), ""][:3]
        by_crate.setdefault(name, []).append((identity, [part for part in fine.split("|") if part]))
    return day, by_crate


def offline() -> int:
    """Checks by the list, and prints how old it is; returns the exit code."""
    day, by_crate = listed()
    days = (datetime.date.today() - day).days
    crates = locked()
    found = [
        f"{name} {has}: {identity}, https://rustsec.org/advisories/{identity}"
        for name, has in crates
        for identity, fine in by_crate.get(name, [])
        if not any(meets(version(has), requirement) for requirement in fine)
    ]
    compared = f"{len(crates)} crates were compared with the list of {day}, {days} days old"
    print(f"advisories: RustSec's database cannot be fetched from here. {compared}")
    if days > MAX_AGE_DAYS:
        found.append(f"the list is {days} days old: renew it (scripts/advisories.py says how)")
    print(*(f"advisories: {line}" for line in found), sep="\n", end="\n" if found else "")
    return int(bool(found))


def check(strict: bool) -> int:
    """Checks by cargo-deny, else by the list; returns the exit code."""
    ran = subprocess.run(
        ["cargo", "deny", "--locked", "check", "advisories"], capture_output=True, text=True, check=False
    )
    said = ran.stdout + ran.stderr
    if ran.returncode and any(text in said for text in NO_DATABASE):
        if strict:
            print(f"advisories: RustSec's database cannot be fetched, nothing was checked:\n{said}")
            return 1
        return offline()
    print(said if ran.returncode else "advisories: none, by RustSec's database as of today")
    return ran.returncode


def renew(folder: str) -> int:
    """Writes the list from the newest commit of a clone."""
    import tomllib

    def git(*words: str) -> str:
        return subprocess.check_output(["git", "-C", folder, "-c", "safe.directory=*", *words], text=True)

    commit, day = git("log", "-1", "--format=%H %cs", "HEAD").split()
    lines = []
    for path in git("ls-tree", "-r", "--name-only", "HEAD", "crates").splitlines():
        text = git("show", f"HEAD:{path}")
        about = tomllib.loads(matched(r"```toml\n(.*?)```", text, re.DOTALL)[1])
        advisory, versions = about["advisory"], about["versions"]
        if advisory.get("withdrawn") or advisory.get("informational") in ("unmaintained", "notice"):
            continue
        fine = [*versions.get("patched", []), *versions.get("unaffected", [])]
        lines.append(f"{advisory['package']}\t{advisory['id']}\t{'|'.join(fine)}")
    source = f"RustSec/advisory-db (CC0-1.0) of {day}, commit {commit}"
    head = f"# Crate, advisory, versions that are not affected: {source}. By scripts/advisories.py renew"
    LIST.write_text("\n".join([head, *sorted(lines)]) + "\n")
    print(f"{len(lines)} advisories of {day}")
    return 0


def main(words: list[str]) -> int:
    """Runs a command; returns the exit code."""
    match words:
        case ["check"] | ["check", "--strict"]:
            return check("--strict" in words)
        case ["renew", folder]:
            return renew(folder)
        case _:
            print(__doc__)
            return 64


sys.exit(main(sys.argv[1:]))
