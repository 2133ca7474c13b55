#!/usr/bin/env python3
"""Prints the table of `make bench`: our CPU time by stage, beside FFmpeg with ONNX Runtime alone and the usual Python
implementation.

    table.py PROGRAM MODEL CLIP [--rounds 5] [--fps 5] [--conf 0.4] [--callgrind] [--int8]

A round is a run of `PROGRAM bench`, in which our pipeline and the decoder with ONNX Runtime alone alternate, and then
a run of peer.py. The numbers are medians over the rounds. With --callgrind, instructions are counted on the first
fragment of the clip, as the difference between a process with two runs and one with one, so loading is not counted.
With --int8, the model is quantised on the clip by `PROGRAM models quantize`, whose report is printed, and a second
table compares float32 and int8 on ONNX Runtime and, where it can be used, int8 on OpenVINO. The output is Markdown.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

STAGES = ["demux", "decode", "preprocess", "infer", "post-process", "between them"]
SIDES = ("ours", "alone")
CALLGRIND_FRAGMENTS = 1
Result = dict[str, Any]
# The results of kvs-infer and of peer.py, and a figure of them.
Round = tuple[Result, Result]
Number = Callable[[Result, Result], float]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="kvs-infer, as a release build")
    parser.add_argument("model", help="an ONNX file in the output layout of YOLOv8")
    parser.add_argument("clip", help="a video file")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--fps", type=float, default=5.0, help="inferences per second of media time (default 5)")
    parser.add_argument("--conf", type=float, default=0.4, help="minimum confidence (default 0.4)")
    parser.add_argument("--callgrind", action="store_true", help="count instructions too, which takes minutes")
    parser.add_argument("--int8", action="store_true", help="compare with the quantised model too")
    return parser.parse_args()


def log(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def output_of(command: Sequence[str | pathlib.Path], stderr: int | None = None) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with code {ran.returncode}\n{ran.stderr or ''}")
    return ran


def bench_command(wanted: argparse.Namespace, *further: str) -> list[str]:
    files = ["--model", wanted.model, "--clip", wanted.clip]
    return [wanted.program, "bench", *files, "--fps", str(wanted.fps), "--conf", str(wanted.conf), "--json", *further]


def one_round(wanted: argparse.Namespace) -> Round:
    ours = json.loads(output_of(bench_command(wanted, "--loops", "2")).stdout)
    script = pathlib.Path(__file__).with_name("peer.py")
    peer = [sys.executable, script, wanted.model, wanted.clip, "--fps", str(wanted.fps), "--conf", str(wanted.conf)]
    return ours, json.loads(output_of(peer).stdout)


def instructions(wanted: argparse.Namespace, side: str, loops: int) -> tuple[int, int]:
    """Returns the instructions of a whole process by callgrind, and its number of inferences."""
    with tempfile.TemporaryDirectory() as folder:
        grind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        part = ["--only", side, "--loops", str(loops), "--fragments", str(CALLGRIND_FRAGMENTS)]
        output = output_of([*grind, *bench_command(wanted, *part)], stderr=subprocess.PIPE)
    collected = re.search(r"Collected *: *(\d+)", output.stderr)
    if not collected:
        sys.exit(f"bench: callgrind counted nothing\n{output.stderr}")
    return int(collected[1]), json.loads(output.stdout)[side]["inferences"]


def instructions_per_inference(wanted: argparse.Namespace) -> Iterator[float]:
    """Yields the instructions per inference of both sides."""
    # Counts do not depend on the load, so all runs are parallel.
    log("counting instructions; this takes minutes")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = {(side, loops): pool.submit(instructions, wanted, side, loops) for side in SIDES for loops in (1, 2)}
    for side in SIDES:
        (once, inferences), (twice, _) = (counts[side, loops].result() for loops in (1, 2))
        yield (twice - once) / inferences


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    name = cpu[1] if cpu else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d %H:%M')}, load average {load}"


def median(rounds: list[Round], number: Number) -> float:
    return statistics.median(number(ours, peer) for ours, peer in rounds)


def stage_ms(rounds: list[Round], side: str, stage: str) -> float:
    """Returns the median of the CPU time of a stage, ms per inference."""
    return median(rounds, lambda ours, _: ours[side]["stages"].get(stage, 0.0))


def side_ms(rounds: list[Round], side: str, figure: str) -> float:
    """Returns the median of a figure of one side, ms."""
    return median(rounds, lambda ours, _: ours[side][figure])


def spread(rounds: list[Round], number: Number) -> str:
    values = sorted(number(ours, peer) for ours, peer in rounds)
    return f"{values[0]:.3f} to {values[-1]:.3f}"


def row(name: str, *cells: str) -> None:
    print(f"| {name} | " + " | ".join(cells) + " |")


def print_table(wanted: argparse.Namespace, rounds: list[Round]) -> None:
    first, first_peer = rounds[0]
    counts = first["ours"]
    model, clip = pathlib.Path(wanted.model).name, pathlib.Path(wanted.clip).name
    print(
        f"{model} ({first['input']}) on {clip}: {counts['frames']} frames, {counts['inferences']} inferences per run, ",
        end="",
    )
    peer_counts = f"{first_peer['inferences']} inferences, {first_peer['detections']} boxes"
    print(f"{counts['detections']} boxes (Python {peer_counts})\n")
    row("CPU ms per inference", "ours", "decoder + ONNX Runtime alone", "Python (OpenCV, NumPy)")
    row("---", "---:", "---:", "---:")
    for stage in STAGES:
        ours, alone = (f"{stage_ms(rounds, side, stage):.3f}" for side in SIDES)
        row(stage, ours, alone if stage in first["alone"]["stages"] else "", "")
    totals = [side_ms(rounds, side, "cpu_ms_per_inference") for side in SIDES]
    totals.append(median(rounds, lambda _, peer: peer["cpu_ms_per_inference"]))
    row("**total**", *(f"**{total:.3f}**" for total in totals))
    decode = [side_ms(rounds, side, "decode_ms_per_frame") for side in SIDES]
    row("decode, per frame", *(f"{value:.3f}" for value in decode), "")
    row("peak resident memory, MB", f"{first['peak_rss_mb']}", "", f"{first_peer['peak_rss_mb']}")


def ours_to_alone(ours: Result, _: Result) -> float:
    return ours["ratio"]["median"]


def peer_to_ours(ours: Result, peer: Result) -> float:
    return peer["cpu_ms_per_inference"] / ours["ours"]["cpu_ms_per_inference"]


def print_ratios(wanted: argparse.Namespace, rounds: list[Round]) -> None:
    of_rounds = f"{spread(rounds, ours_to_alone)} over {len(rounds)} rounds"
    print(f"\n- ours / alone, CPU time: **{median(rounds, ours_to_alone):.3f}** ({of_rounds})")
    print(f"- Python / ours, CPU time: **{median(rounds, peer_to_ours):.2f}** ({spread(rounds, peer_to_ours)})")
    if wanted.callgrind:
        ours, alone = instructions_per_inference(wanted)
        counted = f"{ours / 1e6:.1f} / {alone / 1e6:.1f} million per inference, first {CALLGRIND_FRAGMENTS} fragment"
        print(f"- ours / alone, instructions by callgrind: **{ours / alone:.4f}** ({counted})")


def quantized(wanted: argparse.Namespace, folder: str) -> pathlib.Path | None:
    """Quantises the model into the folder; returns the file, or None where the gate refuses it."""
    twin = pathlib.Path(folder, pathlib.Path(wanted.model).stem + ".int8.onnx")
    command = [wanted.program, "models", "quantize", wanted.model, "--footage", wanted.clip, "--fps", str(wanted.fps)]
    ran = subprocess.run(
        [*command, "--conf", str(wanted.conf), "--out", twin], stdout=subprocess.PIPE, text=True, check=False
    )
    print(f"\n`models quantize` on the same clip:\n\n{ran.stdout.strip().replace(folder, '.')}\n")
    return twin if ran.returncode == 0 else None


def int8_run(wanted: argparse.Namespace, model: str | pathlib.Path, engine: str) -> Result:
    varied = argparse.Namespace(**{**vars(wanted), "model": str(model)})
    ran = output_of(bench_command(varied, "--loops", "2", "--only", "ours", "--engine", engine))
    result: Result = json.loads(ran.stdout)
    return result


def int8_rounds(wanted: argparse.Namespace, twin: pathlib.Path) -> dict[str, list[Result]]:
    """Returns the runs of each variant; the variants alternate, so that other load affects all alike."""
    openvino = "int8, OpenVINO"
    variants = {
        "float32": (wanted.model, "onnxruntime"),
        "int8": (twin, "onnxruntime"),
        openvino: (twin, "openvino"),
    }
    runs: dict[str, list[Result]] = {name: [] for name in variants}
    for number in range(wanted.rounds):
        log(f"int8 round {number + 1} of {wanted.rounds}: {pathlib.Path(wanted.model).name}")
        for name, (model, engine) in variants.items():
            runs[name].append(int8_run(wanted, model, engine))
    # A plugin that cannot be used here leaves the model to ONNX Runtime.
    if not runs[openvino][0]["engine"].startswith("OpenVINO"):
        del runs[openvino]
    return runs


def infer_ms(run: Result) -> float:
    stages = run["ours"]["stages"]
    return float(stages["infer"] + stages["between them"])


def total_ms(run: Result) -> float:
    return float(run["ours"]["cpu_ms_per_inference"])


def print_int8_table(wanted: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        twin = quantized(wanted, folder)
        runs = int8_rounds(wanted, twin) if twin else {}
    if not runs:
        return
    row("CPU ms per inference", *runs)
    row("---", *("---:" for _ in runs))
    row("infer (all threads)", *(f"{statistics.median(map(infer_ms, of)):.2f}" for of in runs.values()))
    row("**total**", *(f"**{statistics.median(map(total_ms, of)):.2f}**" for of in runs.values()))
    row("boxes", *(str(run[0]["ours"]["detections"]) for run in runs.values()))
    row("peak resident memory, MB", *(str(run[0]["peak_rss_mb"]) for run in runs.values()))
    print()
    for name in [name for name in runs if name != "float32"]:
        pairs = zip(runs["float32"], runs[name], strict=True)
        ratios = sorted(infer_ms(float32) / infer_ms(other) for float32, other in pairs)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds"
        print(f"- float32 / {name}, inference: **{statistics.median(ratios):.2f}** ({spread})")


def main() -> None:
    wanted = arguments()
    before = machine()
    rounds = []
    for number in range(wanted.rounds):
        log(f"round {number + 1} of {wanted.rounds}: {pathlib.Path(wanted.model).name}")
        rounds.append(one_round(wanted))
    print(f"\n{before}\n")
    print_table(wanted, rounds)
    print_ratios(wanted, rounds)
    if wanted.int8:
        print_int8_table(wanted)


if __name__ == "__main__":
    main()
