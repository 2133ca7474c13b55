#!/usr/bin/env python3
"""Compiles the GPU's kernels with the pinned NVRTC. Needs no GPU. usage: ptx.py write|check [FOLDER]

- write: makes kernels.ptx of kernels.cu in FOLDER, which is crates/gpu/kernels unless it is named;
- check: compares the committed file with what NVRTC makes now, finds float arithmetic that a driver could fuse, and
  compiles the source for each architecture of ARCHITECTURES.

NVRTC comes from the wheel of scripts/requirements/ptx.txt, which `scripts/setup check` installs. Exit code 1 where a
check fails.
"""

import ctypes
import importlib.metadata
import re
import sys
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "crates/gpu/kernels"
WHEEL = "nvidia-cuda-nvrtc"
# The oldest GPU that is served: a driver compiles PTX of its architecture for all later ones.
VIRTUAL = "compute_75"
# T4, A100, A10G, L4 and L40S, H100, B200, RTX PRO 6000 Blackwell.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
OPTIONS = ("--fmad=false", "--std=c++17", "-default-device")
# PTX ISA, "mul" and "add" of floats: a driver may fuse them where they name no rounding.
FLOAT = r"\.f(?:16|32|64)"
FUSIBLE = re.compile(rf"^.*\b(?:fma\.|mad(?:\.\w+)*{FLOAT}|(?:mul|add|sub)(?:\.ftz|\.sat)*{FLOAT}).*$", re.M)
INEXACT = re.compile(r"^.*\.(?:ftz|approx|full)\b.*$", re.M)


class Nvrtc:
    """NVIDIA's runtime compiler, of the installed wheel."""

    def __init__(self) -> None:
        files = importlib.metadata.files(WHEEL) or []
        builtins, library = (
            next(file for file in files if re.fullmatch(name, file.name))
            for name in (r"libnvrtc-builtins\.so\.[\d.]+", r"libnvrtc\.so\.\d+")
        )
        # NVRTC opens its builtins by name, and finds them where they are loaded.
        self.builtins = ctypes.CDLL(str(builtins.locate()))
        self.library = ctypes.CDLL(str(library.locate()))

    def compile(self, source: bytes, architecture: str) -> bytes:
        """Returns the PTX of `source` for compute_N, or the machine code for sm_N."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source, b"kernels.cu", 0, None, None)
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
        array = (ctypes.c_char_p * len(options))(*options)
        if self.library.nvrtcCompileProgram(program, len(options), array):
            raise SystemExit(f"ptx: {architecture}: {self._result(program, 'ProgramLog').decode()}")
        result = self._result(program, "PTX" if architecture.startswith("compute_") else "CUBIN")
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        return result

    def _result(self, program: ctypes.c_void_p, kind: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{kind}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{kind}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: object) -> None:
        if code := self.library[function](*arguments):
            raise SystemExit(f"ptx: {function} failed with {code}")


def ptx_of(compiler: Nvrtc, source: str) -> str:
    """Returns the PTX as it is committed: without the terminating zero."""
    text = compiler.compile(source.encode(), VIRTUAL).rstrip(b"\0").decode()
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def arithmetic_complaints(ptx: str) -> list[str]:
    """Returns a complaint per instruction whose result may differ from the CPU's."""
    fused = [f"may be fused: {line.strip()}" for line in FUSIBLE.findall(ptx)]
    return fused + [f"is not exact: {line.strip()}" for line in INEXACT.findall(ptx)]


def complaints(compiler: Nvrtc, source: str, committed: str) -> list[str]:
    """Returns what is wrong with the committed PTX, or with the source."""
    ptx = ptx_of(compiler, source)
    wrong = arithmetic_complaints(ptx)
    if ptx != committed:
        wrong.append("kernels.ptx is not what the pinned NVRTC makes of kernels.cu; run scripts/gpu/ptx.py write")
    if wrong:
        return wrong
    for architecture in ARCHITECTURES:
        if not compiler.compile(source.encode(), architecture).startswith(b"\x7fELF"):
            wrong.append(f"no machine code for {architecture}")
    return wrong


def main(arguments: list[str]) -> int:
    """Runs the command that is named."""
    if arguments[:1] not in (["write"], ["check"]) or len(arguments) > 2:
        print(__doc__, file=sys.stderr)
        return 64
    folder = Path(arguments[1]) if arguments[1:] else KERNELS
    source, ptx = (folder / "kernels.cu").read_text(), folder / "kernels.ptx"
    if arguments[0] == "write":
        ptx.write_text(ptx_of(Nvrtc(), source))
        return 0
    wrong = complaints(Nvrtc(), source, ptx.read_text())
    for complaint in wrong:
        print(f"ptx: {complaint}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
