"""The metrics of the program, and the errors in expressions that name them.

The metrics are those of the table in docs/operations.md, which tests/docs compares with the program.
"""

import re
import subprocess
from pathlib import Path

from checks.repository import ROOT

OPERATIONS = ROOT / "docs/operations.md"
# Labels that Prometheus itself gives each series.
OF_PROMETHEUS = {"job", "instance"}
PARTS_OF_HISTOGRAM = ("_bucket", "_sum", "_count")
# Type and labels of each series, by name.
Metrics = dict[str, tuple[str, set[str]]]


def metrics() -> Metrics:
    """Returns type and labels of each series; a histogram is its three parts."""
    found: Metrics = {"up": ("gauge", OF_PROMETHEUS), "ALERTS": ("gauge", OF_PROMETHEUS | {"alertstate", "alertname"})}
    for name, kind, labels in re.findall(r"^\| `(kvs_infer_\w+)` \| (\w+) \| ([^|]*) \|", OPERATIONS.read_text(), re.M):
        own = OF_PROMETHEUS | {label.strip() for label in labels.split(",") if label.strip()}
        if kind == "histogram":
            found |= {
                name + part: ("counter", own | ({"le"} if part == "_bucket" else set())) for part in PARTS_OF_HISTOGRAM
            }
        else:
            found[name] = (kind, own)
    return found


def named_in(expression: str) -> list[tuple[str, str]]:
    """Returns each series that an expression names, with its label matchers."""
    bare = re.sub(r'"[^"]*"', lambda text: text[0] if "{" not in text[0] else '""', expression)
    return re.findall(r"\b(kvs_infer_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", bare)


def expression_errors(expression: str, known: Metrics, legend: str = "") -> list[str]:
    """Returns unknown names and labels, and counters that are shown as they are although a restart resets them."""
    named = named_in(expression)
    unknown = [f"there is no metric {name}" for name, _ in named if name not in known]
    if unknown or not named:
        return unknown or [f"it names no metric: {expression}"]
    for name, braces in named:
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))
        unknown += [f"{name} has no label {label}" for label in sorted(asked - known[name][1])]
    grouped = [
        re.split(r"\s*,\s*", group.strip())
        for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)
    ]
    shared = set.intersection(*(known[name][1] for name, _ in named))
    unknown += [f"not all of it has the label {label}" for group in grouped for label in group if label not in shared]
    kept = set.intersection(*map(set, grouped)) if grouped else set.union(*(known[name][1] for name, _ in named))
    if not grouped and re.match(r"\s*(sum|min|max|count|avg)\s*\(", expression):
        kept = set()
    return unknown + [
        f"the legend's {label} is not there"
        for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)
        if label not in kept
    ]


def promtool(*arguments: str | Path) -> list[str]:
    """Returns the output of promtool by line if it fails."""
    command = ["promtool", *arguments]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ran.stdout.splitlines() if ran.returncode else []
