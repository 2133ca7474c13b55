"""Writes the licences of kvs-infer and of every crate in it to one file.

usage: licences.py FOLDER        (in the repository's root; FOLDER/crates is written)

A crate that is linked and has neither a text nor the name of a licence is an error.
"""

import json
import pathlib
import subprocess
import sys
from typing import Any

TARGET = "x86_64-unknown-linux-gnu"
Package = dict[str, Any]
NAMES = ("licen", "copying", "notice", "unlicense")


def linked() -> list[Package]:
    """Returns the packages that the program is built of, by name and version."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.check_output(command))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting, seen = [metadata["resolve"]["root"]], set()
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    packages = [package for package in metadata["packages"] if package["id"] in seen]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def texts(package: Package) -> list[pathlib.Path]:
    """Returns the texts of a package's licences: files at its root and, of a C library in it, one folder below."""
    root = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in sorted([*root.glob("*"), *root.glob("*/*")]) if path.is_file()]
    return [path for path in files if path.name.lower().startswith(NAMES)]


def section(package: Package) -> str:
    """Returns the part of the file about one package."""
    found = texts(package)
    if not found and not package["license"]:
        sys.exit(f"{package['name']} {package['version']} says nothing of its licence")
    head = f"==== {package['name']} {package['version']}: {package['license'] or 'see below'}\n"
    where = f"{package['repository'] or ''}\n"
    return head + where + "\n".join(path.read_text(errors="replace") for path in found)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sections = [section(package) for package in linked()]
    (folder / "crates").write_text(pathlib.Path("LICENSE").read_text() + "\n" + "\n".join(sections))


if __name__ == "__main__":
    main()
