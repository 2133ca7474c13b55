"""The linters over the template, and proof that they look: each must complain of a template with a mistake in it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sources import GITHUB, TEMPLATE

TOOLS = Path(sys.executable).parent
# The default region of the guide, and the one that every resource type is in.
REGIONS = ["ap-southeast-1", "us-east-1"]
# Checks of checkov that do not hold here, and why.
NOT_HERE = {
    "CKV_AWS_18": "access logs need a second bucket; CloudTrail's data events hold the same, for accounts that want them",
    "CKV_AWS_19": "it cannot read Fn::If; the rule the_bucket_is_private and the group `stack` check the encryption",
    "CKV_AWS_26": "alarms cannot reach a topic under AWS's key, and one of one's own costs; alarms hold no picture or text of events",
    "CKV_AWS_119": "the tables are encrypted with AWS's key of DynamoDB; one of one's own needs more permissions and costs",
    "CKV_AWS_136": "the images are encrypted (AES256) and hold nothing secret",
    "CKV_AWS_158": "the logs are encrypted by CloudWatch and hold no secret",
}
# The same of github.yaml.
NOT_THERE = {
    "CKV_AWS_107": "CloudFormation's role makes the network, hosts and tasks of the stack, by ids that AWS makes up",
    "CKV_AWS_109": "the same; its roles and all that is named are limited to the stack's name",
    "CKV_AWS_111": "the same",
}


def cfn_lint(template: Path) -> list[str]:
    """What cfn-lint says, a line each."""
    command = [TOOLS / "cfn-lint", "--format", "parseable", "--regions", *REGIONS, "--template", template]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def checkov(template: Path) -> dict[str, list[str]]:
    """The checks of checkov that fail, each with the resources."""
    command = [TOOLS / "checkov", "--file", template, "--framework", "cloudformation", "--skip-download", "--output", "json", "--quiet"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, list[str]] = {}
    for check in json.loads(printed)["results"]["failed_checks"]:
        found.setdefault(check["check_id"], []).append(f"{check['check_id']} {check['resource']}: {check['check_name']}")
    return found


def spoilt(folder: str, old: str, new: str) -> Path:
    """A copy of the template with one mistake."""
    text = TEMPLATE.read_text()
    if old not in text:
        raise LookupError(f"{old!r} is not in the template")
    copy = Path(folder) / "spoilt.yaml"
    copy.write_text(text.replace(old, new))
    return copy


def results() -> Iterator[tuple[str, list[str]]]:
    """Both linters, the reasons of what is passed over, and a mistake for each linter."""
    for template, passed_over in {TEMPLATE: NOT_HERE, GITHUB: NOT_THERE}.items():
        yield f"cfn-lint {template.name}", cfn_lint(template)
        failed = checkov(template)
        yield f"checkov {template.name}", [line for check, lines in failed.items() if check not in passed_over for line in lines]
        for check, reason in passed_over.items():
            yield f"checkov, not for {template.name}: {check}: {reason}", [] if check in failed else ["it does not fail any more: take it out of lint.py"]
    with tempfile.TemporaryDirectory() as folder:
        misspelt = spoilt(folder, "RetentionPeriodHours", "RetentionHours")
        yield "mistake: a property that is not there", [] if cfn_lint(misspelt) else ["cfn-lint does not see it"]
        public = spoilt(folder, "BlockPublicPolicy: true", "BlockPublicPolicy: false")
        yield "mistake: a bucket that can be public", [] if checkov(public).keys() - NOT_HERE else ["checkov does not see it"]
