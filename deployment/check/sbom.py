"""The bill of materials of an image, made here of this machine's packages: by CycloneDX's own schema, and with what must be in it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from sources import ROOT

Result = tuple[str, list[str]]
STATUS = """Package: tini
Status: install ok installed
Version: 0.19.0-1+b3
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64
"""


def schema_complaints(document: dict[str, Any]) -> list[str]:
    """What CycloneDX's schema, which checkov's library carries, says."""
    folder = files("cyclonedx.schema") / "_res"
    named = {name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in ("bom-1.5", "spdx", "jsf-0.82")}
    registry = Registry().with_resources(
        [(schema["$id"], DRAFT7.create_resource(schema)) for schema in named.values()]
        + [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", DRAFT7.create_resource(schema)) for name, schema in named.items()]
    )
    errors = Draft7Validator(named["bom-1.5"], registry=registry).iter_errors(document)
    return [f"{'/'.join(str(part) for part in error.path)}: {error.message[:150]}" for error in errors]


def made(folder: Path) -> dict[str, Any]:
    """The document, made as the Dockerfile makes it."""
    def run(*words: object) -> None:
        subprocess.run([sys.executable, ROOT / "scripts/image/sbom.py", *words], cwd=ROOT, check=True)

    (folder / "status").write_text(STATUS)
    run("crates", folder / "crates.json")
    run("wheels", Path(json.__file__).parents[1] / "none", folder / "none.json")
    run("wheels", Path(files("jsonschema")).parent, folder / "wheels.json")  # type: ignore[arg-type]
    run("ffmpeg", "7:5.1.6-0+deb12u1", folder / "ffmpeg.json")
    run("join", folder / "status", folder / "sbom.json", *(folder / f"{part}.json" for part in ("crates", "wheels", "none", "ffmpeg")))
    return json.loads((folder / "sbom.json").read_text())


def results() -> Iterator[Result]:
    """The document, and mistakes that its schema must see."""
    with tempfile.TemporaryDirectory() as name:
        document = made(Path(name))
        again = made(Path(name))
    parts = document["components"]
    yield f"sbom: {len(parts)} parts, by CycloneDX's schema", schema_complaints(document)
    has = {part["purl"].split("@")[0] for part in parts}
    wanted = {"pkg:cargo/tokio", "pkg:deb/debian/tini", "pkg:deb/debian/ffmpeg", "pkg:pypi/jsonschema"}
    yield "sbom: crates, packages, wheels, FFmpeg", [f"lacks {lacking}" for lacking in sorted(wanted - has)]
    yield "sbom: nothing that is not installed, nor our own crates", [f"has {more}" for more in has & {"pkg:deb/debian/gone", "pkg:cargo/kvs-infer"}]
    yield "sbom: the same image has the same", [] if again == document else ["it differs"]
    without = {"crates without licences": [part["name"] for part in parts if part["purl"].startswith("pkg:cargo/") and "licenses" not in part]}
    yield "sbom: each crate has its licence", [f"{what}: {names}" for what, names in without.items() if names]
    for mistake, broken in {"no name": {"type": "library"}, "a kind that is none": {"type": "crate", "name": "a"}}.items():
        yield f"sbom: mistake: {mistake}", [] if schema_complaints(document | {"components": [broken]}) else ["the schema does not see it"]
