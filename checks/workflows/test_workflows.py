"""Rules over the workflows of .github, and mistakes that they must catch. Needs shellcheck."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.commands import run
from checks.repository import ROOT, read
from checks.tables import assert_none, expect, rows

Job = dict[str, Any]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def roles() -> dict[str, int]:
    """Returns the variable that names each role of github.yaml for workflows, with its longest session in seconds."""
    text = read("deployment/cloudformation/github.yaml")
    resources = {part.split(":", 1)[0]: part for part in re.split(r"^  (?=\w+:$)", text, flags=re.MULTILINE)}
    sessions = {name: re.search(r"MaxSessionDuration: (\d+)", part) for name, part in resources.items()}
    outputs = re.findall(r'"(AWS_\w+) of the environment.*GetAtt (\w+)\.Arn', text)
    return {variable: int(found[1]) if (found := sessions[role]) else 3600 for variable, role in outputs}


ROLES = roles()

# --- the rules -------------------------------------------------------------------------------------------------------


def wrong_in(text: str) -> list[str]:
    """Returns what breaks the rules in one workflow."""
    flow = yaml.safe_load(text)
    permissions = flow.get("permissions")
    found = expect(permissions == {"contents": "read"}, "permissions of the workflow are not {contents: read}")
    found += expect("group" in flow.get("concurrency", {}), "no concurrency group")
    found += expect("pull_request_target" not in text, "pull_request_target gives a stranger's commit our permissions")
    stored = re.search(r"secrets\.|aws-(secret-)?access-key", text)
    found += expect(not stored, "a stored secret: roles by OIDC need none")
    for name, job in flow["jobs"].items():
        found += [f"job {name}: {wrong}" for wrong in [*wrong_in_job(job), *wrong_in_sessions(job)]]
    return found


def wrong_in_job(job: Job) -> list[str]:
    """Returns what breaks the rules in one job."""
    found = expect("timeout-minutes" in job, "no timeout-minutes")
    wanted, usual = job.get("permissions", {}), {("contents", "read"), ("id-token", "write")}
    found += [f"permission {name}: {value}" for name, value in wanted.items() if (name, value) not in usual]
    is_bound = "id-token" not in wanted or "environment" in job
    found += expect(is_bound, "an OIDC token without an environment: any branch could have the role")
    for step in job["steps"]:
        found += wrong_in_action(step) + wrong_in_script(step.get("run", ""))
    return found


def wrong_in_action(step: Job) -> list[str]:
    """Returns what breaks the rules in a step that uses an action."""
    uses = step.get("uses", "")
    found = expect(not uses or bool(re.search(r"@[0-9a-f]{40}$", uses)), f"{uses} is not pinned by commit")
    leaves = uses.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False
    return found + expect(not leaves, "checkout leaves its token behind")


def wrong_in_script(script: str) -> list[str]:
    """Returns what breaks the rules in the script of a step, and shellcheck's findings, for bash -e as on GitHub."""
    if not script:
        return []
    found = expect("${{" not in script, "an expression in `run`: pass it by env")
    return found + run(["shellcheck", "-s", "bash", "-f", "gcc", "-"], stdin=script).stdout.splitlines()


def wrong_in_sessions(job: Job) -> list[str]:
    """Returns sessions at AWS that the role does not give, or that end before the job's limit."""
    # Both default to an hour.
    found: list[str] = []
    for place, step in enumerate(job["steps"]):
        given = step.get("with", {})
        variable = re.search(r"vars\.(\w+)", given.get("role-to-assume", ""))
        if not variable:
            continue
        if variable[1] not in ROLES:
            found.append(f"{variable[1]} is no output of github.yaml")
            continue
        session, limit = given.get("role-duration-seconds", 3600), ROLES[variable[1]]
        found += expect(session <= limit, f"a session of {session} s, and the role gives {limit} s at most")
        # What comes before the sign-in, such as a build, needs no session.
        is_late = place <= 1 and job.get("timeout-minutes", 0) * 60 > session
        found += expect(not is_late, "the job may take longer than its session")
    return found


# --- the workflows as they are ---------------------------------------------------------------------------------------


def test_there_are_four_workflows() -> None:
    assert len(WORKFLOWS) == 4


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflow(file: Path) -> None:
    assert_none(wrong_in(file.read_text()))


def test_github_yaml_has_a_role_for_each_workflow() -> None:
    assert set(ROLES) == {"AWS_IMAGE_ROLE", "AWS_DEPLOY_ROLE", "AWS_CLOUDFORMATION_ROLE"}


def test_dependabot_moves_all_that_is_pinned() -> None:
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    wanted = {"github-actions", "cargo", "docker", "docker-compose", "pip"}
    assert not wanted - {update["package-ecosystem"] for update in updates}


def test_each_run_of_image_has_a_tag_of_its_own() -> None:
    text = read(".github/workflows/image.yml")
    assert "github.run_id" in text, "tags cannot be moved: a second run fails"
    assert "github.run_attempt" in text, "tags cannot be moved: a second run fails"


@pytest.mark.skipif(not shutil.which("actionlint"), reason="actionlint is not installed")
def test_actionlint() -> None:
    assert_none(run(["actionlint", *WORKFLOWS]).stdout.splitlines())


# --- mistakes in deploy.yml ------------------------------------------------------------------------------------------

Spoil = Callable[[str], str]


def swap(old: str, new: str) -> Spoil:
    """Returns the edit that replaces a text."""
    return lambda text: text.replace(old, new)


MISTAKES: dict[str, Spoil] = {
    "more permissions": lambda text: text.replace("contents: read", "contents: write", 1),
    "more permissions of the job": swap("id-token: write", "id-token: write\n      packages: write"),
    "no concurrency": lambda text: re.sub(r"concurrency:\n.*\n.*\n", "", text),
    "an action by its tag": lambda text: re.sub(r"checkout@\w+", "checkout@v6", text),
    "a stored key": swap("role-to-assume: ${{ vars.AWS_DEPLOY_ROLE }}", "aws-access-key-id: ${{ secrets.KEY }}"),
    "no environment": swap("    environment: ${{ inputs.environment }}\n", ""),
    "an input in a script": swap('"$IMAGE"', "${{ inputs.image }}"),
    "no quotes": swap('"$STACK"', "$STACK"),
    "a token left behind": swap("persist-credentials: false", "fetch-depth: 1"),
    "no limit of time": swap("    timeout-minutes: 150\n", ""),
    "a session that the role does not give": swap("role-duration-seconds: 9000", "role-duration-seconds: 14400"),
    "a session that ends before the job": swap("          role-duration-seconds: 9000\n", ""),
    "a role that nothing makes": swap("vars.AWS_DEPLOY_ROLE", "vars.AWS_ROLE"),
}


@pytest.mark.parametrize("spoil", rows(MISTAKES))
def test_the_rules_see(spoil: Spoil) -> None:
    assert wrong_in(spoil(read(".github/workflows/deploy.yml"))), "no rule sees it"
