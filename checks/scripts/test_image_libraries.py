"""scripts/image/libraries on wheels of ours: the build fails with the name of a library that is missing."""

import re
import subprocess
from pathlib import Path

import pytest

from checks.commands import Word, run
from checks.repository import ROOT

SCRIPT = ROOT / "scripts/image/libraries"
NAME = re.compile(r"lib(?:cudnn|nvrtc)[\w-]*\.so\.[\d.]*")


def opened_by_name() -> list[str]:
    """Returns the names that the script asks for."""
    _, after = SCRIPT.read_text().split("OPENED_BY_NAME=(", 1)
    return after.split(")", 1)[0].split()


def wheels(folder: Path, names: list[str]) -> Path:
    """Writes wheels with ONNX Runtime and the libraries of these names."""
    for name in ["onnxruntime/capi/libonnxruntime.so.1", *(f"nvidia/lib/{name}" for name in names)]:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        linked: list[Word] = [
            "cc",
            "-shared",
            "-nostdlib",
            "-x",
            "c",
            "/dev/null",
            f"-Wl,-soname,{file.name}",
            "-o",
            file,
        ]
        subprocess.run(linked, check=True)
    return folder


def test_a_complete_set_is_copied(tmp_path: Path) -> None:
    ran = run([SCRIPT, wheels(tmp_path / "wheels", opened_by_name()), tmp_path / "out", "gpu"])
    assert ran.returncode == 0, ran.stderr
    found = {file.name for file in (tmp_path / "out/lib").iterdir()}
    assert found == {*opened_by_name(), "libonnxruntime.so.1", "libonnxruntime.so"}


@pytest.mark.parametrize("missing", ["libcudnn_engines_tensor_ir.so.9", "libnvrtc-builtins.so.13.5"])
def test_a_missing_library_fails_the_build_with_its_name(tmp_path: Path, missing: str) -> None:
    rest = [name for name in opened_by_name() if name != missing]
    ran = run([SCRIPT, wheels(tmp_path / "wheels", rest), tmp_path / "out", "gpu"])
    assert ran.returncode == 1
    assert f"the wheels lack {missing};" in ran.stderr


def test_the_cpu_needs_none_of_them(tmp_path: Path) -> None:
    assert run([SCRIPT, wheels(tmp_path / "wheels", []), tmp_path / "out", "cpu"]).returncode == 0


def test_the_program_looks_for_no_other_library() -> None:
    program = (ROOT / "src/detect/cuda_libraries.rs").read_text().split("#[cfg(test)]")[0]
    names = set(NAME.findall(program)) - {"libcudnn_engines_tensor_ir.so", "libcudnn_ext.so"}
    assert len(names) == 9
    assert all(any(known.startswith(name) for known in opened_by_name()) for name in names), names
