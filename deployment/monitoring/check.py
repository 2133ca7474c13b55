"""Checks the rules and the dashboard. usage: python deployment/monitoring/check.py   (needs promtool and PyYAML)

The metrics are those of the table in docs/operations.md, which tests/docs holds against the program.
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
OPERATIONS = HERE.parents[1] / "docs/operations.md"
RULES, TESTS, SCRAPE = HERE / "rules.yml", HERE / "rules.test.yml", HERE / "prometheus.yml"
DASHBOARD = HERE / "grafana/kvs-infer.json"
# Labels that Prometheus itself gives each series.
OF_PROMETHEUS = {"job", "instance"}
PARTS_OF_HISTOGRAM = ("_bucket", "_sum", "_count")

Result = tuple[str, list[str]]
Metrics = dict[str, tuple[str, set[str]]]


def metrics() -> Metrics:
    """Type and labels of each series, by name; a histogram is its three parts."""
    found: Metrics = {"up": ("gauge", OF_PROMETHEUS), "ALERTS": ("gauge", OF_PROMETHEUS | {"alertstate", "alertname"})}
    for name, kind, labels in re.findall(r"^\| `(kvs_infer_\w+)` \| (\w+) \| ([^|]*) \|", OPERATIONS.read_text(), re.M):
        own = OF_PROMETHEUS | {label.strip() for label in labels.split(",") if label.strip()}
        if kind == "histogram":
            found |= {name + part: ("counter", own | ({"le"} if part == "_bucket" else set())) for part in PARTS_OF_HISTOGRAM}
        else:
            found[name] = (kind, own)
    return found


def named_in(expression: str) -> list[tuple[str, str]]:
    """Returns each series that an expression names, with its label matchers."""
    bare = re.sub(r'"[^"]*"', lambda text: text[0] if "{" not in text[0] else '""', expression)
    return re.findall(r"\b(kvs_infer_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", bare)


def mistakes(expression: str, legend: str, known: Metrics) -> list[str]:
    """Returns unknown names and labels, and counters that are shown as they are although a restart resets them."""
    named = named_in(expression)
    unknown = [f"there is no metric {name}" for name, _ in named if name not in known]
    if unknown or not named:
        return unknown or [f"it names no metric: {expression}"]
    for name, braces in named:
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))
        unknown += [f"{name} has no label {label}" for label in sorted(asked - known[name][1])]
    grouped = [re.split(r"\s*,\s*", group.strip()) for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)]
    shared = set.intersection(*(known[name][1] for name, _ in named))
    unknown += [f"not all of it has the label {label}" for group in grouped for label in group if label not in shared]
    kept = set.intersection(*map(set, grouped)) if grouped else set.union(*(known[name][1] for name, _ in named))
    if not grouped and re.match(r"\s*(sum|min|max|count|avg)\s*\(", expression):
        kept = set()
    return unknown + [f"the legend's {label} is not there" for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend) if label not in kept]


def promtool(*arguments: str | Path) -> list[str]:
    """Returns the output of promtool by line if it fails."""
    command = ["promtool", *arguments]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ran.stdout.splitlines() if ran.returncode else []


def alerts() -> list[dict]:
    """Returns the alert rules of rules.yml."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def spoilings() -> dict[str, Callable[[dict], None]]:
    """What a test must notice of any alert."""
    return {
        "never comes": lambda rule: rule.update(expr=f"({rule['expr']}) and on () vector(1) == 2"),
        "always comes": lambda rule: rule.update(expr=f"({rule['expr']}) or vector(1)") or rule.pop("for", None),
        "comes at once": lambda rule: rule.pop("for"),
        "has another severity": lambda rule: rule["labels"].update(severity="other"),
    }


def cases_of(rule: dict) -> dict[str, Callable[[dict], None]]:
    """Returns the mistakes to make in an alert, one of them for each omitted alternative of its expression."""
    cases = {name: spoil for name, spoil in spoilings().items() if "for" in rule or name != "comes at once"}
    alternatives = rule["expr"].split(" or ")
    for left_out in range(len(alternatives)) if len(alternatives) > 1 else ():
        rest = " or ".join(part for place, part in enumerate(alternatives) if place != left_out)
        cases[f"without `{alternatives[left_out]}`"] = lambda rule, rest=rest: rule.update(expr=rest)
    return cases


def tests_of(alert: str) -> dict:
    """The tests of one alert alone."""
    tests = yaml.safe_load(TESTS.read_text())
    for test in tests["tests"]:
        test["alert_rule_test"] = [asked for asked in test["alert_rule_test"] if asked["alertname"] == alert]
    tests["tests"] = [test for test in tests["tests"] if test["alert_rule_test"]]
    return tests


def spoilt() -> Iterator[Result]:
    """Each alert with each mistake: its tests must fail. One promtool runs them all, for time."""
    with tempfile.TemporaryDirectory() as folder:
        names: dict[str, str] = {}
        for rule in alerts():
            tests = tests_of(rule["alert"])
            for name, spoil in cases_of(rule).items():
                changed, number = copy.deepcopy(rule), len(names)
                spoil(changed)
                tests["rule_files"] = [f"{number}.rules.yml"]
                Path(folder, f"{number}.rules.yml").write_text(as_yaml({"groups": [{"name": "spoilt", "rules": [changed]}]}))
                Path(folder, f"{number}.test.yml").write_text(as_yaml(tests))
                names[str(Path(folder, f"{number}.test.yml"))] = f"mistake: {rule['alert']} {name}"
        output = "\n".join(promtool("test", "rules", *names)).split("Unit Testing:")
        verdicts = {file.strip(): verdict for file, _, verdict in (part.partition("\n") for part in output)}
        for file, name in names.items():
            # A file that cannot be read fails as well, but has no alert to compare.
            yield name, [] if "got:" in verdicts.get(file, "") else ["rules.test.yml does not see it"]


def as_yaml(value: object) -> str:
    """Returns the value as JSON, which is valid YAML."""
    return json.dumps(value)


def anchors() -> set[str]:
    """Returns the headings of docs/operations.md as link anchors."""
    headings = re.findall(r"^#+ (.*)$", OPERATIONS.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def check_alerts() -> Iterator[Result]:
    """Checks each alert: its metrics and labels, its texts, and its heading in docs/operations.md."""
    known, there = metrics(), anchors()
    for rule in alerts():
        name, notes = rule["alert"], rule.get("annotations", {})
        # CloudWatch has an alarm of the same name, or Prometheus alone has it.
        wanted = {f"alarm-{name.lower()}", f"alert-{name.lower()}"}
        link = notes.get("runbook", "").removeprefix("docs/operations.md#")
        found = [wrong for part in rule["expr"].split(" or ") for wrong in mistakes(part, "", known)]
        found += [] if link in wanted & there else [f"its runbook is none of the headings {sorted(wanted)} of docs/operations.md"]
        found += ["docs/operations.md has two headings for it"] if wanted <= there else []
        found += [] if rule.get("labels", {}).get("severity") in ("critical", "warning") else ["its severity is neither critical nor warning"]
        found += [] if notes.get("summary") else ["it has no summary"]
        yield f"alert {name}", found


def panels(dashboard: dict) -> Iterator[dict]:
    """All panels, those inside rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def drawn_over(shown: list[dict]) -> list[str]:
    """Panels that lie on one another or beside the grid of 24."""
    cells: dict[tuple[int, int], str] = {}
    found = []
    for panel in shown:
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            found.append(f"{panel['title']} is wider than the page")
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cells.setdefault(cell, panel["title"]) != panel["title"]:
                found.append(f"{panel['title']} lies on {cells[cell]}")
                break
    return found


def filled_in(expression: str) -> str:
    """An expression as Grafana sends it."""
    return re.sub(r"\$(instance|camera)\b", ".*", expression.replace("$__rate_interval", "1m"))


def shown(dashboard: dict) -> Iterator[Result]:
    """The dashboard: names, labels, legends, syntax, ids, places, variables."""
    known, all_panels = metrics(), list(panels(dashboard))
    titles, ids = [panel["title"] for panel in all_panels], [panel["id"] for panel in all_panels]
    yield "ids of panels", sorted({f"twice: {one}" for one in ids if ids.count(one) > 1})
    yield "titles of panels", sorted({f"twice: {one}" for one in titles if titles.count(one) > 1})
    yield "places of panels", drawn_over(all_panels)
    queries = [(panel["title"], target["expr"], target["legendFormat"]) for panel in all_panels for target in panel.get("targets", [])]
    queries += [(note["name"], note["expr"], "") for note in dashboard["annotations"]["list"]]
    for title, expression, legend in queries:
        found = mistakes(filled_in(expression), legend, known)
        for name, _ in named_in(expression):
            if known.get(name, ("",))[0] == "counter" and not re.search(rf"(rate|increase)\({name}", expression):
                found += [] if title in SHOWN_AS_THEY_ARE else [f"{name} is a counter: rate() or increase()"]
        yield f"panel {title}", found
    yield "syntax", parsed([expression for _, expression, _ in queries])
    yield "variables", wrong_variables(dashboard, known)
    named = {name for _, expression, _ in queries for name, _ in named_in(expression)}
    whole = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known if name.startswith("kvs_infer_")}
    missing = whole - {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} - NOT_SHOWN
    yield "every metric has a place", [f"no panel shows {name}" for name in sorted(missing)]


# Panels of counts since the start.
SHOWN_AS_THEY_ARE = {"Model failures", "Lost"}
# Metrics that are queried by hand and need no panel.
NOT_SHOWN = {
    f"kvs_infer_{name}"
    for name in (
        "source_connections_total", "decoders_opened_total", "detect_texts_read_total", "inference_failures_total", "snapshots_failed_total",
        "snapshots_omitted_total", "model_fetched_bytes_total", "model_fetch_errors_total", "http_accept_errors_total",
        "http_connections_refused_total", "http_picture_errors_total",
    )
}  # fmt: skip


def parsed(expressions: list[str]) -> list[str]:
    """Returns promtool's errors about their syntax."""
    rules = [{"record": f"shown:{number}", "expr": filled_in(expression)} for number, expression in enumerate(expressions)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.yml"
        file.write_text(as_yaml({"groups": [{"name": "shown", "rules": rules}]}))
        return promtool("check", "rules", file)


def wrong_variables(dashboard: dict, known: Metrics) -> list[str]:
    """Returns the errors of variables: undefined, unused, or with unknown metrics or labels."""
    there = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps([dashboard["panels"], dashboard["annotations"]])))
    found = [f"${name} is used and not there" for name in sorted(used - there.keys())]
    found += [f"${name} is not used" for name in sorted(there.keys() - used)]
    for variable in there.values():
        asked = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable.get("definition", ""))
        if asked and asked[2] not in known.get(asked[1], ("", set()))[1]:
            found.append(f"{asked[1]} has no label {asked[2]}")
    return found


def seeded() -> Iterator[Result]:
    """Makes mistakes in the dashboard, each of which must be found."""
    def first(board: dict) -> dict:
        return next(panel for panel in board["panels"] if panel["title"] == "Lag")

    def query(board: dict, old: str, new: str) -> None:
        target = first(board)["targets"][0]
        target["expr"] = target["expr"].replace(old, new)

    cases: dict[str, Callable[[dict], None]] = {
        "a metric that is not there": lambda board: query(board, "behind", "beneath"),
        "a label that is not there": lambda board: query(board, "camera=~", "cam=~"),
        "a legend that is not there": lambda board: first(board)["targets"][0].update(legendFormat="{{sink}}"),
        "a syntax error": lambda board: query(board, "}", "})"),
        "an id twice": lambda board: first(board).update(id=board["panels"][0]["id"]),
        "panels on one another": lambda board: first(board)["gridPos"].update(x=0),
        "a variable that is not there": lambda board: query(board, "$camera", "$cam"),
        "a counter as it is": lambda board: query(board, "kvs_infer_camera_behind_seconds", "kvs_infer_source_bytes_total"),
        "a label that grouping dropped": lambda board: first(board)["targets"][0].update(expr="sum by (job) (kvs_infer_camera_up)"),
        "a metric that has no place": lambda board: board["panels"].remove(next(panel for panel in board["panels"] if panel["title"] == "GPU temperature")),
    }
    unspoilt = [found for _, found in shown(json.loads(DASHBOARD.read_text()))]
    for name, spoil in cases.items():
        board = json.loads(DASHBOARD.read_text())
        spoil(board)
        yield f"mistake: {name}", [] if [found for _, found in shown(board)] != unspoilt else ["nothing sees it"]


def results() -> Iterator[Result]:
    """Runs all checks, the quick ones first."""
    yield "prometheus.yml", promtool("check", "config", SCRAPE)
    yield "the table of metrics", [] if len(metrics()) > 40 else ["docs/operations.md has no table of metrics any more"]
    yield from check_alerts()
    yield from shown(json.loads(DASHBOARD.read_text()))
    yield from seeded()
    yield "rules.test.yml", promtool("test", "rules", TESTS)
    yield from spoilt()


def main() -> int:
    """Prints each failure, and last how many passed."""
    passed = failed = 0
    for what, found in results():
        passed, failed = passed + (not found), failed + bool(found)
        if found:
            print(f"FAILED: {what}", *(f"    {line}" for line in found), sep="\n", flush=True)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
