"""deployment/release against a stand-in for AWS: the image works or fails, and so does the former one."""

import json
from pathlib import Path

import pytest

from checks.commands import first_in_path, run, write_program
from checks.deployment.files import TEMPLATE, packed
from checks.repository import ROOT
from checks.tables import rows

RELEASE = ROOT / "deployment/release"
FORMER, NEW = (f"registry.example/kvs-infer@sha256:{digit * 64}" for digit in "ab")
# Answers as AWS would, of a stack that a file holds. BROKEN names images whose roll-out fails, SICK those whose task is
# not healthy, CRASHING those whose task is healthy and ends soon, LATE those of which a task has the former one.
STAND_IN = """#!/usr/bin/env python3
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
    role = os.environ.get("CLOUDFORMATION_ROLE")
    if given.get("--tags") != "Project=kvs-infer" or given.get("--role-arn") != role:
        json.dump(now, open(state, "w")); sys.exit(254)
    image = given["--parameter-overrides"].removeprefix("ImageUri=")
    if image in os.environ.get("BROKEN", ""):
        json.dump(now, open(state, "w")); sys.exit(255)
    now["image"], now["template"] = image, open(given["--template-file"]).read().strip()
    if len(now["template"]) > 51200:
        sys.exit("Templates with a size greater than 51,200 bytes must be deployed via an S3 Bucket")
elif call == "ecs list-tasks":
    # One that crashes is another task at every third call.
    now["listings"] = now.get("listings", 0) + 1
    crashed = now["listings"] // 3 if now["image"] in os.environ.get("CRASHING", "") else 0
    tasks = [f"arn:task{place}" for place in range(int(os.environ.get("TASKS", 1)) - 1)] + [f"arn:task-{crashed}"]
    # In another order each time.
    print(json.dumps({"taskArns": tasks[:: -1 if now["listings"] % 2 else 1]}))
elif call == "ecs describe-tasks":
    named = [word for word in said[said.index("--tasks") + 1 :] if word.startswith("arn:")]
    if len(named) > 100:
        sys.exit("at most 100 tasks")
    # Of several tasks, the last is the one with the fault.
    tasks = []
    for name in named:
        health = "UNHEALTHY" if "-" in name and now["image"] in os.environ.get("SICK", "") else "HEALTHY"
        former = "-" in name and now["image"] in os.environ.get("LATE", "")
        containers = [{"image": "former" if former else now["image"]}]
        tasks.append({"lastStatus": "RUNNING", "healthStatus": health, "containers": containers})
    print(json.dumps({"tasks": tasks}))
else:
    sys.exit(f"not expected: {said}")
json.dump(now, open(state, "w"))
"""


# Exit code, image of the stack afterwards, whether its template is the former one.
End = tuple[int, str, bool]
ROLE = "arn:aws:iam::123456789012:role/r"
CASES: dict[str, tuple[str, dict[str, str], End]] = {
    "it works": (FORMER, {}, (0, NEW, False)),
    "the first image works": ("", {}, (0, NEW, False)),
    "the roll-out fails": (FORMER, {"BROKEN": NEW}, (1, FORMER, True)),
    "by CloudFormation's own role": (FORMER, {"CLOUDFORMATION_ROLE": ROLE}, (0, NEW, False)),
    "it is healthy and crashes": (FORMER, {"CRASHING": NEW}, (1, FORMER, True)),
    "it is not healthy": (FORMER, {"SICK": NEW}, (1, FORMER, True)),
    "three workers": (FORMER, {"TASKS": "3"}, (0, NEW, False)),
    "more workers than one call describes": (FORMER, {"TASKS": "234"}, (0, NEW, False)),
    "one of three workers is not healthy": (FORMER, {"TASKS": "3", "SICK": NEW}, (1, FORMER, True)),
    "one of three workers crashes": (FORMER, {"TASKS": "3", "CRASHING": NEW}, (1, FORMER, True)),
    "one of 234 workers has another image": (FORMER, {"TASKS": "234", "LATE": NEW}, (1, FORMER, True)),
    "the former is not healthy either": (FORMER, {"SICK": NEW + FORMER}, (2, FORMER, True)),
    "the way back fails": (FORMER, {"SICK": NEW, "BROKEN": FORMER}, (2, NEW, False)),
    "the first image is not healthy": ("", {"SICK": NEW}, (2, NEW, False)),
}


@pytest.mark.parametrize(("former", "faults", "end"), rows(CASES))
def test_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: str, faults: dict[str, str], end: End
) -> None:
    monkeypatch.delenv("CLOUDFORMATION_ROLE", raising=False)
    state = tmp_path / "state"
    state.write_text(json.dumps({"image": former, "template": "former", "calls": []}))
    write_program(tmp_path / "aws", STAND_IN)
    around = {"STATE": str(state), "RELEASE_POLLS": "12", "RELEASE_POLL_SECONDS": "0"}
    ran = run([RELEASE, "stack", NEW], environment=first_in_path(tmp_path) | around | faults)
    after = json.loads(state.read_text())
    assert (ran.returncode, after["image"], after["template"] == "former") == end
    assert end[2] or after["template"] == packed(TEMPLATE.read_text()).strip(), "the packed template is sent"


@pytest.mark.parametrize(
    "image",
    rows(
        {"a tag": "kvs-infer:v1", "no digest": "kvs-infer@v1", "a short digest": NEW[:-1], "a long digest": NEW + "0"}
    ),
)
def test_release_refuses(image: str) -> None:
    assert run([RELEASE, "stack", image]).returncode == 64
