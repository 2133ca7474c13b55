"""Checks the workflows and deployment/release. usage: python .github/check.py   (needs PyYAML, shellcheck, jq)"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMER, NEW = (f"registry.example/kvs-infer@sha256:{digit * 64}" for digit in "ab")

Result = tuple[str, list[str]]


def wrong_in(text: str) -> list[str]:
    """What breaks the rules in one workflow."""
    flow, found = yaml.safe_load(text), []
    if flow.get("permissions") != {"contents": "read"}:
        found.append("permissions of the workflow are not {contents: read}")
    if "group" not in flow.get("concurrency", {}):
        found.append("no concurrency group")
    if "pull_request_target" in text:
        found.append("pull_request_target gives a stranger's commit our permissions")
    if re.search(r"secrets\.|aws-(secret-)?access-key", text):
        found.append("a stored secret: roles by OIDC need none")
    for name, job in flow["jobs"].items():
        found += [f"job {name}: {wrong}" for wrong in wrong_in_job(job)]
    return found


def wrong_in_job(job: dict) -> list[str]:
    """What breaks the rules in one job."""
    found = [] if "timeout-minutes" in job else ["no timeout-minutes"]
    wanted = job.get("permissions", {})
    found += [f"permission {name}: {value}" for name, value in wanted.items() if (name, value) not in {("contents", "read"), ("id-token", "write")}]
    if "id-token" in wanted and "environment" not in job:
        found.append("an OIDC token without an environment: any branch could have the role")
    for step in job["steps"]:
        uses = step.get("uses", "")
        found += [] if not uses or re.search(r"@[0-9a-f]{40}$", uses) else [f"{uses} is not pinned by commit"]
        if uses.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
            found.append("checkout leaves its token behind")
        if "run" in step:
            found += ["an expression in `run`: pass it by env"] if "${{" in step["run"] else []
            found += shellcheck(step["run"])
    return found


def shellcheck(script: str) -> list[str]:
    """What shellcheck says, as GitHub runs it (bash -e)."""
    told = subprocess.run(["shellcheck", "-s", "bash", "-f", "gcc", "-"], input=script, capture_output=True, text=True, check=False)
    return told.stdout.splitlines()


def rules() -> Iterator[Result]:
    """The workflows as they are, and each mistake in them."""
    yield "there are workflows", [] if len(WORKFLOWS) == 3 else [f"{len(WORKFLOWS)} of 3"]
    for file in WORKFLOWS:
        yield file.name, wrong_in(file.read_text())
    mistakes: dict[str, Callable[[str], str]] = {
        "more permissions": lambda text: text.replace("contents: read", "contents: write", 1),
        "more permissions of the job": lambda text: text.replace("id-token: write", "id-token: write\n      packages: write"),
        "no concurrency": lambda text: re.sub(r"concurrency:\n.*\n.*\n", "", text),
        "an action by its tag": lambda text: re.sub(r"checkout@\w+", "checkout@v6", text),
        "a stored key": lambda text: text.replace("role-to-assume: ${{ vars.AWS_DEPLOY_ROLE }}", "aws-access-key-id: ${{ secrets.KEY }}"),
        "no environment": lambda text: text.replace("    environment: ${{ inputs.environment }}\n", ""),
        "an input in a script": lambda text: text.replace('"$IMAGE"', "${{ inputs.image }}"),
        "no quotes": lambda text: text.replace('"$STACK"', "$STACK"),
        "a token left behind": lambda text: text.replace("persist-credentials: false", "fetch-depth: 1"),
        "no limit of time": lambda text: text.replace("    timeout-minutes: 90\n", ""),
    }
    deploy = (ROOT / ".github/workflows/deploy.yml").read_text()
    for name, spoil in mistakes.items():
        yield f"mistake: {name}", [] if wrong_in(spoil(deploy)) else ["no rule sees it"]
    if shutil.which("actionlint"):
        told = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, check=False)
        yield "actionlint", told.stdout.splitlines()
    else:
        print("workflows: actionlint is not installed, not run")


# Answers as AWS would, of a stack that a file holds. BROKEN names images whose roll-out fails, SICK those whose task is not healthy.
STAND_IN = '''#!/usr/bin/env python3
import json, os, sys
state, said = os.environ["STATE"], sys.argv[1:]
now = json.load(open(state))
call, given = " ".join(said[:2]), dict(zip(said, said[1:]))
now["calls"].append(call)
if call == "cloudformation describe-stacks":
    outputs = [{"OutputKey": key, "OutputValue": key.lower()} for key in ("ClusterName", "ServiceName")]
    parameters = [{"ParameterKey": "ImageUri", "ParameterValue": now["image"]}]
    print(json.dumps({"Stacks": [{"Parameters": parameters, "Outputs": outputs}]}))
elif call == "cloudformation get-template":
    print(now["template"])
elif call == "cloudformation deploy":
    image = given["--parameter-overrides"].removeprefix("ImageUri=")
    if image in os.environ.get("BROKEN", ""):
        json.dump(now, open(state, "w")); sys.exit(255)
    now["image"], now["template"] = image, open(given["--template-file"]).read().strip()
elif call == "ecs list-tasks":
    print("arn:task")
elif call == "ecs describe-tasks":
    health = "UNHEALTHY" if now["image"] in os.environ.get("SICK", "") else "HEALTHY"
    print(json.dumps({"tasks": [{"lastStatus": "RUNNING", "healthStatus": health, "containers": [{"image": now["image"]}]}]}))
else:
    sys.exit(f"not expected: {said}")
json.dump(now, open(state, "w"))
'''


def released(former: str, **faults: str) -> tuple[int, str, bool]:
    """Exit code of deployment/release, the image that the stack then has, and whether its template is the former one."""
    with tempfile.TemporaryDirectory() as folder:
        state, stand_in = Path(folder, "state"), Path(folder, "aws")
        state.write_text(json.dumps({"image": former, "template": "former", "calls": []}))
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        around = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "STATE": str(state), "RELEASE_LOOKS": "2", "RELEASE_APART": "0"}
        command = [ROOT / "deployment/release", "stack", NEW]
        code = subprocess.run(command, env=around | faults, capture_output=True, check=False).returncode
        after = json.loads(state.read_text())
        return code, after["image"], after["template"] == "former"


def releases() -> Iterator[Result]:
    """deployment/release, whatever becomes of the new image and of the former one."""
    cases = {
        "it works": (released(FORMER), (0, NEW, False)),
        "the first image works": (released(""), (0, NEW, False)),
        "the roll-out fails": (released(FORMER, BROKEN=NEW), (1, FORMER, True)),
        "it is not healthy": (released(FORMER, SICK=NEW), (1, FORMER, True)),
        "the former is not healthy either": (released(FORMER, SICK=NEW + FORMER), (2, FORMER, True)),
        "the way back fails": (released(FORMER, SICK=NEW, BROKEN=FORMER), (2, NEW, False)),
        "the first image is not healthy": (released("", SICK=NEW), (2, NEW, False)),
    }
    for name, (got, wanted) in cases.items():
        yield f"release: {name}", [] if got == wanted else [f"{got}, not {wanted}"]
    for image in ("kvs-infer:v1", "kvs-infer@v1", NEW[:-1], NEW + "0"):
        told = subprocess.run([ROOT / "deployment/release", "stack", image], capture_output=True, check=False)
        yield f"release: {image[:20]} is refused", [] if told.returncode == 64 else [f"exit code {told.returncode}"]


def main() -> int:
    """Prints each failure, and last how many passed."""
    passed = failed = 0
    for what, found in [*rules(), *releases()]:
        passed, failed = passed + (not found), failed + bool(found)
        if found:
            print(f"FAILED: {what}", *(f"    {line}" for line in found), sep="\n", flush=True)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


sys.exit(main())
