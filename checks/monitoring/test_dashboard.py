"""Grafana's dashboard: its queries, panels and variables, and mistakes that must be found in them."""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from checks.monitoring.metrics import expression_errors, metrics, named_in, promtool
from checks.repository import ROOT
from checks.tables import assert_none, rows

Board = dict[str, Any]
Panel = dict[str, Any]
DASHBOARD: Board = json.loads((ROOT / "deployment/monitoring/grafana/kvs-infer.json").read_text())
KNOWN = metrics()
# Panels of counts since the start.
SHOWN_AS_THEY_ARE = {"Model failures", "Lost"}
# Metrics that are queried by hand and need no panel.
NOT_SHOWN = {
    f"kvs_infer_{name}"
    for name in (
        "source_connections_total",
        "decoders_opened_total",
        "detect_texts_read_total",
        "inference_failures_total",
        "snapshots_failed_total",
        "snapshots_omitted_total",
        "model_fetched_bytes_total",
        "model_fetch_errors_total",
        "http_accept_errors_total",
        "http_connections_refused_total",
        "http_picture_errors_total",
    )
}


@dataclass(frozen=True)
class Query:
    """An expression of a panel or of an annotation."""

    title: str
    expression: str
    legend: str


def panels(board: Board) -> Iterator[Panel]:
    """Returns all panels, those inside rows too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(board: Board) -> list[Query]:
    """Returns the queries of panels and annotations."""
    found = [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels(board)
        for target in panel.get("targets", [])
    ]
    return found + [Query(note["name"], note["expr"], "") for note in board["annotations"]["list"]]


def filled_in(expression: str) -> str:
    """Returns an expression as Grafana sends it."""
    return re.sub(r"\$(instance|camera)\b", ".*", expression.replace("$__rate_interval", "1m"))


# --- the checks, each a function from the dashboard to complaints ----------------------------------------------------


def repeated(board: Board, key: str) -> list[str]:
    """Returns the values that several panels have."""
    values = [panel[key] for panel in panels(board)]
    return sorted({f"twice: {value}" for value in values if values.count(value) > 1})


def misplaced(board: Board) -> list[str]:
    """Returns panels that lie on one another or beside the grid of 24."""
    cells: dict[tuple[int, int], str] = {}
    found = []
    for panel in panels(board):
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            found.append(f"{panel['title']} is wider than the page")
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cells.setdefault(cell, panel["title"]) != panel["title"]:
                found.append(f"{panel['title']} lies on {cells[cell]}")
                break
    return found


def query_errors(query: Query) -> list[str]:
    """Returns unknown names and labels, and counters that are shown as they are although a restart resets them."""
    found = expression_errors(filled_in(query.expression), KNOWN, query.legend)
    for name, _ in named_in(query.expression):
        is_rate = re.search(rf"(rate|increase)\({name}", query.expression)
        if KNOWN.get(name, ("",))[0] == "counter" and not is_rate and query.title not in SHOWN_AS_THEY_ARE:
            found.append(f"{name} is a counter: rate() or increase()")
    return found


def syntax_errors(board: Board, folder: Path) -> list[str]:
    """Returns promtool's errors about the queries."""
    rules = [
        {"record": f"shown:{number}", "expr": filled_in(query.expression)}
        for number, query in enumerate(queries(board))
    ]
    file = folder / "shown.yml"
    # JSON is valid YAML.
    file.write_text(json.dumps({"groups": [{"name": "shown", "rules": rules}]}))
    return promtool("check", "rules", file)


def wrong_variables(board: Board) -> list[str]:
    """Returns the errors of variables: undefined, unused, or with unknown metrics or labels."""
    there = {variable["name"]: variable for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps([board["panels"], board["annotations"]])))
    found = [f"${name} is used and not there" for name in sorted(used - there.keys())]
    found += [f"${name} is not used" for name in sorted(there.keys() - used)]
    for variable in there.values():
        asked = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable.get("definition", ""))
        if asked and asked[2] not in KNOWN.get(asked[1], ("", set()))[1]:
            found.append(f"{asked[1]} has no label {asked[2]}")
    return found


def missing_metrics(board: Board) -> list[str]:
    """Returns the metrics that no panel shows."""

    def whole(names: Iterable[str]) -> set[str]:
        return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}

    named = whole(name for query in queries(board) for name, _ in named_in(query.expression))
    own = whole(name for name in KNOWN if name.startswith("kvs_infer_"))
    return [f"no panel shows {name}" for name in sorted(own - named - NOT_SHOWN)]


def complaints(board: Board, folder: Path) -> list[str]:
    """Returns the complaints of all checks."""
    found = [error for query in queries(board) for error in query_errors(query)]
    found += [*repeated(board, "id"), *repeated(board, "title"), *misplaced(board)]
    return [*found, *syntax_errors(board, folder), *wrong_variables(board), *missing_metrics(board)]


# --- the dashboard as it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["id", "title"])
def test_panels_differ_by(key: str) -> None:
    assert_none(repeated(DASHBOARD, key))


def test_panels_do_not_overlap() -> None:
    assert_none(misplaced(DASHBOARD))


@pytest.mark.parametrize("query", rows((query.title, query) for query in queries(DASHBOARD)))
def test_query(query: Query) -> None:
    assert_none(query_errors(query))


def test_promtool_accepts_the_queries(tmp_path: Path) -> None:
    assert_none(syntax_errors(DASHBOARD, tmp_path))


def test_variables_are_defined_and_used() -> None:
    assert_none(wrong_variables(DASHBOARD))


def test_every_metric_has_a_place() -> None:
    assert_none(missing_metrics(DASHBOARD))


# --- mistakes --------------------------------------------------------------------------------------------------------


def lag(board: Board) -> Panel:
    """Returns the panel that is spoilt."""
    return next(panel for panel in board["panels"] if panel["title"] == "Lag")


def replace(old: str, new: str) -> Callable[[Board], None]:
    """Returns the edit of a query."""

    def spoil(board: Board) -> None:
        target = lag(board)["targets"][0]
        target["expr"] = target["expr"].replace(old, new)

    return spoil


def remove(title: str) -> Callable[[Board], None]:
    """Returns the edit that removes a panel."""

    def spoil(board: Board) -> None:
        board["panels"].remove(next(panel for panel in board["panels"] if panel["title"] == title))

    return spoil


MISTAKES: dict[str, Callable[[Board], object]] = {
    "an unknown metric": replace("behind", "beneath"),
    "an unknown label": replace("camera=~", "cam=~"),
    "an unknown legend": lambda board: lag(board)["targets"][0].update(legendFormat="{{sink}}"),
    "a syntax error": replace("}", "})"),
    "an id twice": lambda board: lag(board).update(id=board["panels"][0]["id"]),
    "panels on one another": lambda board: lag(board)["gridPos"].update(x=0),
    "an unknown variable": replace("$camera", "$cam"),
    "a counter as it is": replace("kvs_infer_camera_behind_seconds", "kvs_infer_source_bytes_total"),
    "a label that grouping dropped": lambda board: lag(board)["targets"][0].update(
        expr="sum by (job) (kvs_infer_camera_up)"
    ),
    "a metric without a place": remove("GPU temperature"),
}


@pytest.mark.parametrize("spoil", rows(MISTAKES))
def test_the_checks_see(spoil: Callable[[Board], object], tmp_path: Path) -> None:
    board = copy.deepcopy(DASHBOARD)
    spoil(board)
    assert complaints(board, tmp_path) != complaints(DASHBOARD, tmp_path)
