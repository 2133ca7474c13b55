#!/usr/bin/env python3
"""Packs what `make gpu-test gpu-bench` runs into parts of at most 64 MiB, for a machine with a GPU and no network.

usage: pack.py [FOLDER] [ARCHITECTURE]    (default: .gpu 90, an H100 or H200; 75 is a T4, 89 an L4)

`make gpu-pack` installs what it needs. It builds the programs; FOLDER gets:

- cuda.tar.xz: ONNX Runtime's CUDA provider with the machine code of ARCHITECTURE only. The code of the others, most of
  the file, is zeroed: sizes and places stay, and the driver never chooses it;
- libraries.tar.xz: FFmpeg, with all that Debian's build of it loads;
- programs.tar.xz: the program, its tests and benchmarks, without symbols;
- data.tar.xz: ONNX Runtime, the models and the clips;
- run: unpacks the parts that are beside it, and runs a part of the tests (`run --help`).

cuBLAS, cuDNN, cuRAND, NVRTC and CUDA's runtime are expected on the machine, as PyTorch for CUDA 13 installs them.
"""

import io
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 64 << 20
PROVIDER = "libonnxruntime_providers_cuda.so"
RUNTIME = ("libonnxruntime.so.1", "libonnxruntime_providers_shared.so")
DATA = (
    "models/street*.onnx",
    "models/plate*.onnx",
    "models/tiny/*.onnx",
    "clips/street.mp4",
    "clips/gate.mp4",
    "clips/yard.mp4",
    "clips/hd*.mp4",
)
SCRIPTS = ("gpu_cameras.py", "comparison.py")
# Libraries that each Linux has.
OF_THE_SYSTEM = re.compile(r"^(linux-vdso|ld-linux|libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+)[.-]")

# cuobjdump's format, as CUDA 11 to 13 write it: a header of 16 bytes, then entries with a header of their own.
FAT_BINARY = struct.pack("<I", 0xBA55ED50)
MACHINE_CODE = 2


def pruned(library: bytes, architecture: int) -> bytes:
    """Returns the library with the machine code of all other architectures zeroed."""
    out = bytearray(library)
    found = at = 0
    while (at := library.find(FAT_BINARY, at)) >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", library, at)
        if version != 1 or header != 16 or size > len(library) - at:
            at += 4
            continue
        entry, end = at + header, at + header + size
        while entry < end:
            kind, _, head, length = struct.unpack_from("<HHIQ", library, entry)
            (code_of,) = struct.unpack_from("<I", library, entry + 28)
            if kind == MACHINE_CODE and code_of == architecture:
                found += 1
            elif kind == MACHINE_CODE:
                out[entry + head : entry + head + length] = bytes(length)
            entry += head + length
        at = end
    if not found:
        raise SystemExit(f"pack: {PROVIDER} has no code for architecture {architecture}")
    return bytes(out)


def loaded_by(program: Path) -> list[Path]:
    """Returns the libraries that the program loads and not each Linux has."""
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    paths = [Path(path) for path in re.findall(r"=> (/\S+)", listing)]
    return [path for path in paths if not OF_THE_SYSTEM.match(path.name)]


def built(*arguments: str) -> dict[tuple[str, str], Path]:
    """Builds by cargo, and returns the programs by kind and name of their targets."""
    command = ["cargo", *arguments, "--locked", "--no-run", "--message-format=json-render-diagnostics"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    programs = [message for message in messages if message.get("executable")]
    return {(one["target"]["kind"][0], one["target"]["name"]): Path(one["executable"]) for one in programs}


def stripped(program: Path) -> bytes:
    """Returns the program without its symbols."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "-o", file.name, program], check=True)
        return Path(file.name).read_bytes()


def bad_launch() -> bytes:
    """Compiles the library by which a test breaks a GPU's context: the machine may have no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "bad_launch.so"
        compiler = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]
        subprocess.run([*compiler, library, ROOT / "tests/real_gpu/bad_launch.c"], check=True)
        return library.read_bytes()


def write_part(target: Path, members: Mapping[str, Path | bytes]) -> None:
    """Writes a part and refuses one that is too large."""
    with lzma.open(target, "wb", preset=6) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in sorted(members.items()):
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    size = target.stat().st_size
    print(f"{target}: {size / (1 << 20):.1f} MiB")
    if size > MAX_BYTES:
        raise SystemExit(f"pack: {target.name} is larger than {MAX_BYTES >> 20} MiB")


def main() -> None:
    """Writes the parts."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".gpu")
    architecture = int(sys.argv[2]) if len(sys.argv) > 2 else 90
    cache = Path(os.environ["KVS_INFER_CACHE"])
    cuda = cache / "onnxruntime-gpu/lib"
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder / "cuda.tar.xz", {f"lib/{PROVIDER}": pruned((cuda / PROVIDER).read_bytes(), architecture)})

    tests = built("test", "-p", "kvs-infer", "--lib", "--test", "integration")
    bench = built("bench", "--bench", "gpu")
    programs = {
        "kvs-infer": tests["bin", "kvs-infer"],
        "integration": tests["test", "integration"],
        "kernels": tests["lib", "kvs_infer"],
        "bench": bench["bench", "gpu"],
        "kvs-infer-release": bench["bin", "kvs-infer"],
    }
    libraries = {path.name: path for program in programs.values() for path in loaded_by(program)}
    write_part(folder / "libraries.tar.xz", {f"lib/{name}": path.resolve() for name, path in libraries.items()})

    run: dict[str, Path | bytes] = {f"bin/{name}": stripped(path) for name, path in programs.items()}
    # The tests start the program by the path that it was built at.
    run["bin/built-at"] = f"{programs['kvs-infer']}\n".encode()
    run["lib/bad_launch.so"] = bad_launch()
    run |= {f"benches/{name}": ROOT / "benches" / name for name in SCRIPTS}
    write_part(folder / "programs.tar.xz", run)

    data: dict[str, Path | bytes] = {f"lib/{name}": cuda / name for name in RUNTIME}
    data |= {f"cache/{path.relative_to(cache)}": path for pattern in DATA for path in cache.glob(pattern)}
    write_part(folder / "data.tar.xz", data)
    shutil.copy(ROOT / "scripts/gpu/run", folder / "run")


if __name__ == "__main__":
    main()
