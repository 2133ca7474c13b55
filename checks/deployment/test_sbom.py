"""The bill of materials of an image, made of this machine's packages: valid by CycloneDX's schema, and complete."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from checks.repository import ROOT
from checks.tables import assert_none, rows

Document = dict[str, Any]
STATUS = """Package: tini
Status: install ok installed
Version: 0.19.0-1+b3
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64
"""


def schema_complaints(document: Document) -> list[str]:
    """Returns the errors by CycloneDX's schema, which checkov's library carries."""
    folder = files("cyclonedx.schema") / "_res"
    names = ("bom-1.5", "spdx", "jsf-0.82")
    named = {name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in names}
    own = [(schema["$id"], DRAFT7.create_resource(schema)) for schema in named.values()]
    links = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", DRAFT7.create_resource(schema))
        for name, schema in named.items()
    ]
    registry: Registry[Any] = Registry().with_resources(own + links)
    errors = Draft7Validator(named["bom-1.5"], registry=registry).iter_errors(document)
    return [f"{'/'.join(str(part) for part in error.path)}: {error.message[:150]}" for error in errors]


def sbom(*words: str | Path) -> None:
    """Runs the script that writes bills of materials."""
    subprocess.run([sys.executable, ROOT / "scripts/image/sbom.py", *words], cwd=ROOT, check=True)


def made(folder: Path) -> Document:
    """Returns the document, made as the Dockerfile makes it."""
    (folder / "status").write_text(STATUS)
    (folder / "no-wheels").mkdir()
    sbom("crates", folder / "crates.json")
    sbom("wheels", folder / "no-wheels", folder / "none.json")
    sbom("wheels", Path(str(files("jsonschema"))).parent, folder / "wheels.json")
    sbom("ffmpeg", "7:5.1.6-0+deb12u1", folder / "ffmpeg.json")
    parts = (folder / f"{part}.json" for part in ("crates", "wheels", "none", "ffmpeg"))
    sbom("join", folder / "status", folder / "sbom.json", *parts)
    document: Document = json.loads((folder / "sbom.json").read_text())
    return document


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Returns the document."""
    return made(tmp_path_factory.mktemp("sbom"))


def purls(document: Document) -> set[str]:
    """Returns the package URLs of the components, without their versions."""
    return {part["purl"].split("@")[0] for part in document["components"]}


def test_the_document_is_valid_by_cyclonedx_schema(document: Document) -> None:
    assert_none(schema_complaints(document))


def test_it_has_crates_packages_wheels_and_ffmpeg(document: Document) -> None:
    wanted = {"pkg:cargo/tokio", "pkg:deb/debian/tini", "pkg:deb/debian/ffmpeg", "pkg:pypi/jsonschema"}
    assert_none(f"lacks {lacking}" for lacking in sorted(wanted - purls(document)))


def test_it_has_nothing_that_is_not_installed_nor_our_own_crates(document: Document) -> None:
    assert_none(f"has {more}" for more in purls(document) & {"pkg:deb/debian/gone", "pkg:cargo/kvs-infer"})


def test_the_same_image_has_the_same_document(document: Document, tmp_path: Path) -> None:
    assert made(tmp_path) == document


def test_each_crate_has_its_licence(document: Document) -> None:
    crates = [part for part in document["components"] if part["purl"].startswith("pkg:cargo/")]
    assert_none(f"{crate['name']} has no licence" for crate in crates if "licenses" not in crate)


@pytest.mark.parametrize(
    "component",
    rows({"a component without a name": {"type": "library"}, "an unknown type": {"type": "crate", "name": "a"}}),
)
def test_the_schema_sees(document: Document, component: dict[str, str]) -> None:
    assert schema_complaints(document | {"components": [component]})
