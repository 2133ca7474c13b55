"""Checks the workflows and deployment/release. usage: python .github/check.py   (needs PyYAML, shellcheck, jq)"""

import datetime
import hashlib
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
        found += [f"job {name}: {wrong}" for wrong in [*wrong_in_job(job), *wrong_in_sessions(job)]]
    return found


def wrong_in_sessions(job: dict) -> list[str]:
    """Sessions at AWS that the role does not give, or that end before the job may. The default of both is an hour."""
    found = []
    for step in job["steps"]:
        given = step.get("with", {})
        variable = re.search(r"vars\.(\w+)", given.get("role-to-assume", ""))
        if not variable:
            continue
        if variable[1] not in ROLES:
            found.append(f"{variable[1]} is no output of github.yaml")
            continue
        session, limit = given.get("role-duration-seconds", 3600), ROLES[variable[1]]
        found += [f"a session of {session} s, and the role gives {limit} s at most"] if session > limit else []
        # What comes before the sign-in, such as a build, needs no session.
        alone = job["steps"].index(step) <= 1
        found += ["the job may take longer than its session"] if alone and job.get("timeout-minutes", 0) * 60 > session else []
    return found


def roles() -> dict[str, int]:
    """The variable that names each role of github.yaml for workflows, and the longest session that it gives, in seconds."""
    text = (ROOT / "deployment/cloudformation/github.yaml").read_text()
    resources = {part.split(":", 1)[0]: part for part in re.split(r"^  (?=\w+:$)", text, flags=re.MULTILINE)}
    sessions = {name: re.search(r"MaxSessionDuration: (\d+)", part) for name, part in resources.items()}
    outputs = re.findall(r'"(AWS_\w+) of the environment.*GetAtt (\w+)\.Arn', text)
    return {variable: int(sessions[role][1]) if sessions[role] else 3600 for variable, role in outputs}


ROLES = roles()


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
    ran = subprocess.run(["shellcheck", "-s", "bash", "-f", "gcc", "-"], input=script, capture_output=True, text=True, check=False)
    return ran.stdout.splitlines()


def rules() -> Iterator[Result]:
    """The workflows as they are, and each mistake in them."""
    yield "there are workflows", [] if len(WORKFLOWS) == 4 else [f"{len(WORKFLOWS)} of 4"]
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
        "no limit of time": lambda text: text.replace("    timeout-minutes: 150\n", ""),
        "a session that the role does not give": lambda text: text.replace("role-duration-seconds: 9000", "role-duration-seconds: 14400"),
        "a session that ends before the job": lambda text: text.replace("          role-duration-seconds: 9000\n", ""),
        "a role that nothing makes": lambda text: text.replace("vars.AWS_DEPLOY_ROLE", "vars.AWS_ROLE"),
    }
    deploy = (ROOT / ".github/workflows/deploy.yml").read_text()
    yield "github.yaml has a role for each workflow", [] if set(ROLES) == {"AWS_IMAGE_ROLE", "AWS_DEPLOY_ROLE", "AWS_CLOUDFORMATION_ROLE"} else [f"{ROLES}"]
    bot = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    lacking = {"github-actions", "cargo", "docker", "docker-compose", "pip"} - {update["package-ecosystem"] for update in bot}
    yield "dependabot moves all that is pinned", [f"not {name}" for name in sorted(lacking)]
    image = (ROOT / ".github/workflows/image.yml").read_text()
    yield "image: each run has a tag of its own", [] if "github.run_id" in image and "github.run_attempt" in image else ["tags cannot be moved: a second run fails"]
    for name, spoil in mistakes.items():
        yield f"mistake: {name}", [] if wrong_in(spoil(deploy)) else ["no rule sees it"]
    if shutil.which("actionlint"):
        ran = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, check=False)
        yield "actionlint", ran.stdout.splitlines()
    else:
        print("workflows: actionlint is not installed, not run")


# Answers as AWS would, of a stack that a file holds. BROKEN names images whose roll-out fails, SICK those whose task is not healthy, CRASHING those whose task is healthy and ends soon.
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
    if given.get("--tags") != "Project=kvs-infer" or given.get("--role-arn", "none") != os.environ.get("CLOUDFORMATION_ROLE", "none"):
        json.dump(now, open(state, "w")); sys.exit(254)
    image = given["--parameter-overrides"].removeprefix("ImageUri=")
    if image in os.environ.get("BROKEN", ""):
        json.dump(now, open(state, "w")); sys.exit(255)
    now["image"], now["template"] = image, open(given["--template-file"]).read().strip()
elif call == "ecs list-tasks":
    # One that crashes is another task at every third call.
    now["listings"] = now.get("listings", 0) + 1
    print(f"arn:task{now['listings'] // 3 if now['image'] in os.environ.get('CRASHING', '') else ''}")
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
        around = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "STATE": str(state), "RELEASE_POLLS": "12", "RELEASE_POLL_SECONDS": "0"}
        around.pop("CLOUDFORMATION_ROLE", None)
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
        "by CloudFormation's own role": (released(FORMER, CLOUDFORMATION_ROLE="arn:aws:iam::123456789012:role/r"), (0, NEW, False)),
        "it is healthy and crashes": (released(FORMER, CRASHING=NEW), (1, FORMER, True)),
        "it is not healthy": (released(FORMER, SICK=NEW), (1, FORMER, True)),
        "the former is not healthy either": (released(FORMER, SICK=NEW + FORMER), (2, FORMER, True)),
        "the way back fails": (released(FORMER, SICK=NEW, BROKEN=FORMER), (2, NEW, False)),
        "the first image is not healthy": (released("", SICK=NEW), (2, NEW, False)),
    }
    for name, (got, wanted) in cases.items():
        yield f"release: {name}", [] if got == wanted else [f"{got}, not {wanted}"]
    for image in ("kvs-infer:v1", "kvs-infer@v1", NEW[:-1], NEW + "0"):
        ran = subprocess.run([ROOT / "deployment/release", "stack", image], capture_output=True, check=False)
        yield f"release: {image[:20]} is refused", [] if ran.returncode == 64 else [f"exit code {ran.returncode}"]


# Where RustSec's database is not reached, and where it is.
CARGO = {
    "unreached": "echo '[ERROR] failed to fetch advisory database https://github.com/RustSec/advisory-db' >&2; exit 1",
    "clean": "exit 0",
    "hit": "echo 'error[vulnerability]: a weakness' >&2; exit 1",
}


def compared(cargo: str, version: str, *options: str, day: str = "") -> tuple[int, str]:
    """Exit code and words of scripts/advisories.py for a Cargo.lock with one crate, of which the list has an advisory; `day` is another age of the list."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cargo").write_text(f"#!/bin/bash\n{CARGO[cargo]}\n")
        (folder / "cargo").chmod(0o755)
        (folder / "Cargo.lock").write_text(f'[[package]]\nname = "lzw"\nversion = "{version}"\nsource = "registry+https://example"\n')
        shutil.copy(ROOT / "scripts/advisories.py", folder)
        first = f"# of {day or datetime.date.today()}"
        (folder / "advisories.txt").write_text(f"{first}\nlzw\tRUSTSEC-2020-9999\t>= 1.2.3, < 2|^0.3.1|< 0.2\n")
        command = [sys.executable, folder / "advisories.py", "check", *options]
        ran = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr


def advisories() -> Iterator[Result]:
    """scripts/advisories.py with and without RustSec's database."""
    cases = {
        "a weak crate, by the list": (compared("unreached", "1.2.2"), 1, "RUSTSEC-2020-9999"),
        "a patched one": (compared("unreached", "1.10.0"), 0, "cannot be fetched from here"),
        "weak again later": (compared("unreached", "2.0.0"), 1, "RUSTSEC-2020-9999"),
        "a pre-release of the patched one": (compared("unreached", "1.2.3-rc.1"), 1, "RUSTSEC-2020-9999"),
        "patched below 1": (compared("unreached", "0.3.9"), 0, "0 days old"),
        "weak below 1": (compared("unreached", "0.4.0"), 1, "RUSTSEC-2020-9999"),
        "too old to be affected": (compared("unreached", "0.1.9"), 0, "0 days old"),
        "a list of long ago": (compared("unreached", "1.2.3", day="2020-01-01"), 1, "renew it"),
        "no database, and it is asked for": (compared("unreached", "1.2.3", "--strict"), 1, "nothing was checked"),
        "the database knows nothing": (compared("clean", "1.2.2"), 0, "as of today"),
        "the database knows a weakness": (compared("hit", "1.2.3"), 1, "a weakness"),
    }
    for name, ((code, said), wanted, word) in cases.items():
        yield f"advisories: {name}", [] if (code, word in said) == (wanted, True) else [f"exit code {code}: {said.strip()}"]
    lines = (ROOT / "scripts/advisories.txt").read_text().splitlines()
    yield "advisories: the list is whole", [] if len(lines) > 500 and all(line.count("\t") == 2 for line in lines[1:]) else [f"{len(lines)} lines"]


def renewed(skopeo: str) -> tuple[int, int]:
    """Exit code of scripts/image/renew-digests with a registry that answers so, and how many images then have that answer's digest."""
    files = ("Dockerfile", "deployment/monitoring/compose.yaml", "scripts/image/renew-digests")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        (folder / "skopeo").write_text(f"#!/bin/bash\n{skopeo}\n")
        (folder / "skopeo").chmod(0o755)
        around = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
        code = subprocess.run([folder / files[2]], env=around, capture_output=True, check=False).returncode
        digest = hashlib.sha256(b"a manifest").hexdigest()
        return code, sum((folder / file).read_text().count(f"@sha256:{digest}") for file in files[:2])


def digests() -> Iterator[Result]:
    """scripts/image/renew-digests where the registry answers, and where it does not."""
    cases = {"newer images": (renewed("printf 'a manifest'"), (0, 4)), "no registry": (renewed("exit 1"), (1, 0))}
    for name, (got, wanted) in cases.items():
        yield f"digests: {name}", [] if got == wanted else [f"{got}, not {wanted}"]


def main() -> int:
    """Prints each failure, and last how many passed."""
    passed = failed = 0
    for what, found in [*rules(), *releases(), *advisories(), *digests()]:
        passed, failed = passed + (not found), failed + bool(found)
        if found:
            print(f"FAILED: {what}", *(f"    {line}" for line in found), sep="\n", flush=True)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


sys.exit(main())
