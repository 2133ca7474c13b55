"""cfn-lint and checkov accept the templates, and complain of a template with a mistake in it."""

import json
import sys
from pathlib import Path

import pytest

from checks.commands import Word, run
from checks.deployment.files import GITHUB, TEMPLATE
from checks.tables import assert_none, rows

Checks = dict[str, list[str]]
TOOLS = Path(sys.executable).parent
# The default region of the guide, and the one that every resource type is in.
REGIONS = ["ap-southeast-1", "us-east-1"]
# Checks of checkov that do not hold, each with the reason, by template.
OMITTED = {
    TEMPLATE: {
        "CKV_AWS_18": "access logs need a second bucket; CloudTrail's data events hold the same",
        "CKV_AWS_19": "it cannot read Fn::If; the rule the_bucket_is_private and test_stack.py check the encryption",
        "CKV_AWS_26": "alarms cannot reach a topic under AWS's key, and a key of one's own costs; alarms hold no event",
        "CKV_AWS_119": "the tables are encrypted with DynamoDB's key; one of one's own costs and needs permissions",
        "CKV_AWS_136": "the images are encrypted (AES256) and hold nothing secret",
        "CKV_AWS_158": "the logs are encrypted by CloudWatch and hold no secret",
    },
    GITHUB: {
        "CKV_AWS_107": "CloudFormation's role makes network, hosts and tasks of the stack, by ids that AWS makes up",
        "CKV_AWS_109": "the same; its roles and all that is named are limited to the stack's name",
        "CKV_AWS_111": "the same",
    },
}
# Warnings of cfn-lint that do not hold: SubnetIds is empty where a VPC is made, and then not used.
IGNORED = "W1033"
TEMPLATES = rows((template.name, template) for template in OMITTED)


def cfn_lint(template: Path) -> list[str]:
    """Returns the lines that cfn-lint prints."""
    form = ["--format", "parseable", "--ignore-checks", IGNORED]
    command: list[Word] = [TOOLS / "cfn-lint", *form, "--regions", *REGIONS, "--template", template]
    return run(command).stdout.splitlines()


def checkov(template: Path) -> Checks:
    """Returns the checks of checkov that fail, each with the resources."""
    form = ["--framework", "cloudformation", "--skip-download", "--output", "json", "--quiet"]
    printed = run([TOOLS / "checkov", "--file", template, *form]).stdout
    found: Checks = {}
    for check in json.loads(printed)["results"]["failed_checks"]:
        line = f"{check['check_id']} {check['resource']}: {check['check_name']}"
        found.setdefault(check["check_id"], []).append(line)
    return found


@pytest.fixture(scope="module")
def failed() -> dict[Path, Checks]:
    """Returns the checks of checkov that each template fails."""
    return {template: checkov(template) for template in OMITTED}


def spoilt(folder: Path, old: str, new: str) -> Path:
    """Returns a copy of the template with one mistake."""
    text = TEMPLATE.read_text()
    assert old in text, f"{old!r} is not in the template"
    copy = folder / "spoilt.yaml"
    copy.write_text(text.replace(old, new))
    return copy


@pytest.mark.parametrize("template", TEMPLATES)
def test_cfn_lint(template: Path) -> None:
    assert_none(cfn_lint(template))


@pytest.mark.parametrize("template", TEMPLATES)
def test_checkov(failed: dict[Path, Checks], template: Path) -> None:
    found = failed[template].items()
    assert_none(line for check, lines in found if check not in OMITTED[template] for line in lines)


@pytest.mark.parametrize(
    ("template", "check"),
    rows((f"{template.name}: {check}", (template, check)) for template, checks in OMITTED.items() for check in checks),
)
def test_checkov_still_fails_what_is_omitted(failed: dict[Path, Checks], template: Path, check: str) -> None:
    assert check in failed[template], f"{check} does not fail any more: remove it from OMITTED"


def test_cfn_lint_sees_a_property_that_does_not_exist(tmp_path: Path) -> None:
    assert cfn_lint(spoilt(tmp_path, "RetentionPeriodHours", "RetentionHours"))


def test_checkov_sees_a_bucket_that_can_be_public(tmp_path: Path) -> None:
    public = spoilt(tmp_path, "BlockPublicPolicy: true", "BlockPublicPolicy: false")
    assert checkov(public).keys() - OMITTED[TEMPLATE]
