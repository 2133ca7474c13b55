"""The alert rules: their metrics, texts and runbooks, and their tests, which must fail where a rule is spoilt."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.monitoring.metrics import OPERATIONS, expression_errors, metrics, promtool
from checks.repository import ROOT
from checks.tables import assert_none, expect, rows

HERE = ROOT / "deployment/monitoring"
RULES, TESTS, SCRAPE = HERE / "rules.yml", HERE / "rules.test.yml", HERE / "prometheus.yml"
Alert = dict[str, Any]
Spoil = Callable[[Alert], object]
ALERTS: list[Alert] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def anchors() -> set[str]:
    """Returns the headings of docs/operations.md as link anchors."""
    headings = re.findall(r"^#+ (.*)$", OPERATIONS.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_prometheus_accepts_its_configuration() -> None:
    assert_none(promtool("check", "config", SCRAPE))


def test_the_document_has_a_table_of_metrics() -> None:
    assert len(metrics()) > 40, "docs/operations.md has no table of metrics any more"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert(alert: Alert) -> None:
    known, there, notes = metrics(), anchors(), alert.get("annotations", {})
    # CloudWatch has an alarm of the same name, or Prometheus alone has it.
    wanted = {f"alarm-{alert['alert'].lower()}", f"alert-{alert['alert'].lower()}"}
    link = notes.get("runbook", "").removeprefix("docs/operations.md#")
    found = [error for part in alert["expr"].split(" or ") for error in expression_errors(part, known)]
    runbook = f"its runbook is none of the headings {sorted(wanted)} of docs/operations.md"
    found += expect(link in wanted & there, runbook)
    found += expect(not wanted <= there, "docs/operations.md has two headings for it")
    severity = alert.get("labels", {}).get("severity")
    found += expect(severity in ("critical", "warning"), "its severity is neither critical nor warning")
    assert_none(found + expect(bool(notes.get("summary")), "it has no summary"))


def test_the_tests_of_the_rules_pass() -> None:
    assert_none(promtool("test", "rules", TESTS))


# --- spoilt rules ----------------------------------------------------------------------------------------------------


def never_comes(alert: Alert) -> None:
    """Adds a condition that is never true."""
    alert["expr"] = f"({alert['expr']}) and on () vector(1) == 2"


def always_comes(alert: Alert) -> None:
    """Adds an alternative that is always true."""
    alert["expr"] = f"({alert['expr']}) or vector(1)"
    alert.pop("for", None)


def without_alternative(place: int) -> Spoil:
    """Returns the edit that leaves an alternative of the expression out."""

    def spoil(alert: Alert) -> None:
        alternatives = alert["expr"].split(" or ")
        alert["expr"] = " or ".join(alternatives[:place] + alternatives[place + 1 :])

    return spoil


def mistakes_of(alert: Alert) -> dict[str, Spoil]:
    """Returns the mistakes to make in an alert, one of them for each omitted alternative of its expression."""
    mistakes: dict[str, Spoil] = {"never comes": never_comes, "always comes": always_comes}
    if "for" in alert:
        mistakes["comes at once"] = lambda spoilt: spoilt.pop("for")
    mistakes["has another severity"] = lambda spoilt: spoilt["labels"].update(severity="other")
    alternatives = alert["expr"].split(" or ")
    for place, left_out in enumerate(alternatives) if len(alternatives) > 1 else ():
        mistakes[f"without `{left_out}`"] = without_alternative(place)
    return mistakes


MISTAKES = {
    f"{alert['alert']} {name}": (alert, spoil) for alert in ALERTS for name, spoil in mistakes_of(alert).items()
}


def tests_of(name: str) -> dict[str, Any]:
    """Returns the tests of one alert alone."""
    tests: dict[str, Any] = yaml.safe_load(TESTS.read_text())
    for test in tests["tests"]:
        test["alert_rule_test"] = [asked for asked in test["alert_rule_test"] if asked["alertname"] == name]
    tests["tests"] = [test for test in tests["tests"] if test["alert_rule_test"]]
    return tests


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns promtool's output about each mistake. One promtool runs them all, for time."""
    folder = tmp_path_factory.mktemp("spoilt")
    names: dict[str, str] = {}
    for number, (name, (alert, spoil)) in enumerate(MISTAKES.items()):
        changed, tests = copy.deepcopy(alert), tests_of(alert["alert"])
        spoil(changed)
        tests["rule_files"] = [f"{number}.rules.yml"]
        # JSON is valid YAML.
        rules = {"groups": [{"name": "spoilt", "rules": [changed]}]}
        Path(folder, f"{number}.rules.yml").write_text(json.dumps(rules))
        file = Path(folder, f"{number}.test.yml")
        file.write_text(json.dumps(tests))
        names[str(file)] = name
    printed = "\n".join(promtool("test", "rules", *names)).split("Unit Testing:")
    parts = (part.partition("\n") for part in printed)
    return {names[file.strip()]: verdict for file, _, verdict in parts if file.strip() in names}


@pytest.mark.parametrize("mistake", rows((name, name) for name in MISTAKES))
def test_the_tests_of_an_alert_see_that_it(verdicts: dict[str, str], mistake: str) -> None:
    # A file that cannot be read fails as well, but has no alert to compare.
    assert "got:" in verdicts.get(mistake, ""), "rules.test.yml does not see it"
