"""Writes what an image is made of as CycloneDX 1.5 JSON: crates, Debian's packages, Python wheels, FFmpeg.

usage: sbom.py crates OUT               in the repository's root: the crates that the program is linked of
       sbom.py wheels FOLDER OUT        the wheels that were unpacked there
       sbom.py ffmpeg VERSION OUT       FFmpeg from Debian's source package of that version
       sbom.py join STATUS OUT PART...  the parts, and the packages of dpkg's file STATUS, as one document
"""

import email
import hashlib
import json
import pathlib
import sys
import uuid
from typing import Any
from urllib.parse import quote

FORMAT = "1.5"
Component = dict[str, Any]


def component(kind: str, name: str, version: str, purl: str, **more: Any) -> Component:
    """Returns one component; its place in the document is its package URL."""
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def expression(text: str | None) -> dict[str, Any]:
    """Returns an expression of SPDX; `/` is how crates once wrote OR."""
    return {"licenses": [{"expression": text.replace("/", " OR ")}]} if text else {}


def licence_name(text: str | None) -> dict[str, Any]:
    """Returns a licence by what its wheel says, which may be any text: its first line."""
    lines = (text or "").strip().splitlines()
    return {"licenses": [{"license": {"name": lines[0][:200]}}]} if lines else {}


def crates() -> list[Component]:
    """Returns the crates of other people that the program is linked of."""
    from licences import linked

    found = [package for package in linked() if package["source"]]
    return [
        component(
            "library",
            package["name"],
            package["version"],
            f"pkg:cargo/{package['name']}@{quote(package['version'])}",
            **expression(package["license"]),
        )
        for package in found
    ]


def wheels(folder: str) -> list[Component]:
    """Returns the wheels in a folder, by their metadata."""
    found = []
    for file in sorted(pathlib.Path(folder).glob("*.dist-info/METADATA")):
        about = email.message_from_string(file.read_text(errors="replace"))
        name = about["Name"].lower().replace("_", "-")
        licence = expression(about["License-Expression"]) or licence_name(about["License"])
        found.append(
            component(
                "library", about["Name"], about["Version"], f"pkg:pypi/{name}@{quote(about['Version'])}", **licence
            )
        )
    return found


def ffmpeg(version: str) -> list[Component]:
    """Returns FFmpeg, which is built from source and so no package of dpkg."""
    return [
        component(
            "library",
            "ffmpeg",
            version,
            f"pkg:deb/debian/ffmpeg@{quote(version)}?arch=source",
            **expression("LGPL-2.1-or-later"),
        )
    ]


def packages(status: str) -> list[Component]:
    """Returns the installed packages of dpkg's status file."""
    found = []
    for entry in pathlib.Path(status).read_text(errors="replace").strip().split("\n\n"):
        about = email.message_from_string(entry)
        if "installed" in (about["Status"] or "").split():
            purl = f"pkg:deb/debian/{about['Package']}@{quote(about['Version'])}?arch={about['Architecture']}"
            found.append(component("library", about["Package"], about["Version"], purl))
    return found


def document(components: list[Component], program: str) -> dict[str, Any]:
    """Returns the whole. Its serial number is made of its contents, so that the same image has the same."""
    components = sorted({item["bom-ref"]: item for item in components}.values(), key=lambda item: item["bom-ref"])
    digest = hashlib.sha256(json.dumps(components, sort_keys=True).encode()).digest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": FORMAT,
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {"component": component("container", "kvs-infer", program, f"pkg:generic/kvs-infer@{program}")},
        "components": components,
    }


def main(words: list[str]) -> None:
    """Runs one of the four commands."""
    match words:
        case ["crates", out]:
            version = next(
                line.split('"')[1]
                for line in pathlib.Path("Cargo.toml").read_text().splitlines()
                if line.startswith("version = ")
            )
            made = {"program": version, "components": crates()}
        case ["wheels", folder, out]:
            made = {"components": wheels(folder)}
        case ["ffmpeg", version, out]:
            made = {"components": ffmpeg(version)}
        case ["join", status, out, *parts]:
            read = [json.loads(pathlib.Path(part).read_text()) for part in parts]
            program = next(part["program"] for part in read if "program" in part)
            made = document([item for part in read for item in part["components"]] + packages(status), program)
        case _:
            sys.exit(__doc__)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(out).write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
