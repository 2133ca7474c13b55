"""The committed PTX of the GPU's kernels: made of the source by the pinned NVRTC, and without inexact arithmetic."""

import platform
import sys
from pathlib import Path

import pytest

from checks.commands import output, run
from checks.repository import ROOT
from checks.tables import rows

pytestmark = pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="NVIDIA has no wheel of NVRTC")

PTX = ROOT / "scripts/gpu/ptx.py"
KERNELS = ROOT / "crates/gpu/kernels"
BLUE = "rgb[2] = clamp01(luma + u * s->blue_u + s->offset[2]);"
# An edit of the source, and the complaint about it.
MISTAKES = {
    "a source that was changed afterwards": (
        (BLUE, BLUE.replace("offset[2]", "offset[1]")),
        "kernels.ptx is not what the pinned NVRTC makes of kernels.cu",
    ),
    "a fused multiply-add": (
        (BLUE, "rgb[2] = clamp01(__fmaf_rn(u, s->blue_u, luma));"),
        "may be fused: fma.rn.f32",
    ),
    "an approximate division": (
        (BLUE, "rgb[2] = clamp01(__fdividef(u, s->blue_u));"),
        "is not exact: div.approx.f32",
    ),
}


def test_the_committed_ptx_is_that_of_the_source() -> None:
    ran = run([sys.executable, PTX, "check"])
    assert (ran.returncode, output(ran).strip()) == (0, "")


@pytest.mark.parametrize(("edit", "complaint"), rows(MISTAKES))
def test_a_mistake_is_found(tmp_path: Path, edit: tuple[str, str], complaint: str) -> None:
    write_edited(tmp_path, edit)
    (tmp_path / "kernels.ptx").write_text((KERNELS / "kernels.ptx").read_text())
    ran = run([sys.executable, PTX, "check", tmp_path])
    assert ran.returncode == 1, output(ran)
    assert complaint in output(ran)


def test_a_source_that_one_gpu_refuses_is_found(tmp_path: Path) -> None:
    start = "#define STATIC_ASSERT static_assert\n"
    write_edited(tmp_path, (start, f"{start}#if __CUDA_ARCH__ == 890\n#error\n#endif\n"))
    written = run([sys.executable, PTX, "write", tmp_path])
    ran = run([sys.executable, PTX, "check", tmp_path])
    assert (written.returncode, ran.returncode) == (0, 1), output(written)
    assert "ptx: sm_89: " in output(ran)


def write_edited(folder: Path, edit: tuple[str, str]) -> None:
    """Writes a source that differs from the committed one."""
    source = (KERNELS / "kernels.cu").read_text()
    assert edit[0] in source
    (folder / "kernels.cu").write_text(source.replace(*edit))
