"""`deployment/cloudformation/deploy` from the first `plan` to `down`, against a local AWS as far as that goes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

from local_aws import LocalAws, local_aws
from sources import ROOT, load
from stack import network

Result = tuple[str, list[str]]
SCRIPT = ROOT / "deployment/cloudformation/deploy"


class Deployment:
    """A reader's files, the script run on them, and what stands there afterwards."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.folder = aws, aws.folder / "mine"
        ami = load().template["Parameters"]["GpuAmi"]["Default"]
        self.network = [f"{name}={value}" for name, value in (network(aws) | {"GpuAmi": ami}).items()]
        (self.folder / "models").mkdir(parents=True)
        (self.folder / "models/street.onnx").write_bytes(b"a model")
        shutil.copy(ROOT / "deployment/cloudformation/cameras.example.yaml", self.folder / "cameras.yaml")
        self.write_parameters()

    def write_parameters(self, *more: str) -> None:
        """The example's parameters, and these. moto cannot delete a VPC, nor keep a parameter that names one of SSM: both are given."""
        example = (ROOT / "deployment/cloudformation/parameters.example.env").read_text()
        (self.folder / "parameters.env").write_text("\n".join([example, *self.network, *more, ""]))

    def run(self, verb: str, **more: str) -> CompletedProcess[str]:
        """Runs the script."""
        mine = {"PARAMETERS": "parameters.env", "CONFIG": "cameras.yaml", "MODELS": "models"}
        files = {name: str(self.folder / file) for name, file in mine.items()}
        return self.aws.bash(f'"{SCRIPT}" {verb}', self.folder, **({"POLLS": "3", "POLL_SECONDS": "0"} | files | more))

    def stacks(self) -> list[str]:
        """The stacks that are there."""
        return [item["StackName"] for item in self.aws.client("cloudformation").describe_stacks()["Stacks"]]

    def parameter(self, name: str) -> str:
        """A parameter of the stack as it stands."""
        listed = self.aws.client("cloudformation").describe_stacks(StackName="kvs-infer")["Stacks"][0]["Parameters"]
        return next((item["ParameterValue"] for item in listed if item["ParameterKey"] == name), "")

    def resource(self, name: str) -> str:
        """What AWS calls a resource of the stack, or nothing."""
        pages = self.aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName="kvs-infer")
        listed = {item["LogicalResourceId"]: item["PhysicalResourceId"] for page in pages for item in page["StackResourceSummaries"]}
        return listed.get(name, "")


def ended(ran: CompletedProcess[str], code: int, *texts: str) -> list[str]:
    """A complaint unless it ended so and said these."""
    said = ran.stdout + ran.stderr
    found = [] if ran.returncode == code else [f"exit code {ran.returncode}, not {code}: {said.strip()[-600:]}"]
    return found + [f"does not say {text!r}: {said.strip()[-600:]}" for text in texts if text not in said]


def results() -> Iterator[Result]:
    """The life of a stack."""
    with local_aws() as aws:
        mine = Deployment(aws)
        yield "no verb: usage", ended(mine.run(""), 64, "up|plan|refresh|down")
        yield "a name that ECS refuses", ended(mine.run("plan", STACK="ecs-cameras"), 1, "STACK=ecs-cameras is not possible")
        yield "no parameters: says what to copy", ended(mine.run("up", PARAMETERS="/nowhere"), 1, "copy", "parameters.example.env")
        yield "plan of a new stack", ended(mine.run("plan"), 0, "EventStream", "nothing was changed") + stays(mine, [])
        yield "down without a stack", ended(mine.run("down"), 1, "there is no stack")
        yield from first_deployment(mine)
        yield from changes(mine)
        yield from teardown(mine)


def stays(mine: Deployment, wanted: list[str]) -> list[str]:
    """A complaint unless these stacks are there."""
    return [] if mine.stacks() == wanted else [f"stacks {mine.stacks()}, not {wanted}"]


def first_deployment(mine: Deployment) -> Iterator[Result]:
    """One command: stack, upload, image, service."""
    mine.aws.calls()
    ran = mine.run("up")
    calls = mine.aws.calls()
    built = [call["what"].split()[2] for call in calls if call["program"] == "make"]
    yield "up: one command from nothing to the service", ended(ran, 0, "deployed to kvs-infer")
    yield "up: the image is built, then pushed", [] if built == ["docker-build", "docker-push"] else [f"make was asked for {built}"]
    image = mine.parameter("ImageUri")
    yield "up: the service has it by digest", [] if "@sha256:" in image and mine.resource("Service") else [f"ImageUri is {image!r}"]
    listed = mine.aws.client("s3").list_objects_v2(Bucket=mine.resource("Bucket")).get("Contents", [])
    keys = {item["Key"] for item in listed}
    wanted = {"config/cameras.yaml", "models/street.onnx"}
    yield "up: configuration and models are in the bucket", [] if keys == wanted else [f"the bucket has {sorted(keys)}"]


def changes(mine: Deployment) -> Iterator[Result]:
    """Once more; another parameter; another image."""
    image = mine.parameter("ImageUri")
    ran = mine.run("up")
    built = [call for call in mine.aws.calls() if call["program"] == "make"]
    yield "up once more: the same image, none built", ended(ran, 0) + [f"make was asked for {call['what']}" for call in built]
    yield "up once more: the image stays", [] if mine.parameter("ImageUri") == image else ["another image"]
    mine.write_parameters("LogDays=7")
    yield "plan: a parameter", ended(mine.run("plan"), 0, "nothing was changed")
    yield "plan: nothing changed", [] if mine.parameter("LogDays") in ("", "30") else ["LogDays was changed by plan"]
    yield "up: a parameter", ended(mine.run("up"), 0) + ([] if mine.parameter("LogDays") == "7" else ["LogDays was not changed"])
    yield "up: an image that is not there", ended(mine.run("up", IMG=f"{image.split('@')[0]}:nowhere"), 1, "is not in ECR")
    yield "up: an image of elsewhere by tag", ended(mine.run("up", IMG="somewhere/kvs-infer:latest"), 1, "must be an image in ECR")
    other = f"{image.split('@')[0]}@sha256:{'1' * 64}"
    yield "up: an image by digest", ended(mine.run("up", IMG=other), 0) + ([] if mine.parameter("ImageUri") == other else ["the image stayed"])


def teardown(mine: Deployment) -> Iterator[Result]:
    """The question; then hosts go before the stack, and what remains is said."""
    yield "down: another answer deletes nothing", ended(mine.run("down", CONFIRM="yes"), 1, "not deleted") + stays(mine, ["kvs-infer"])
    group, bucket = mine.resource("Hosts"), mine.resource("Bucket")
    mine.aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
    mine.aws.calls()
    ran = mine.run("down", CONFIRM="kvs-infer")
    order = [call["what"] for call in mine.aws.calls() if call["program"] == "aws"]
    wanted = ["ecs update-service", "autoscaling update-auto-scaling-group", "autoscaling set-instance-protection", "cloudformation delete-stack"]
    yield "down: deletes the stack and says what remains", ended(ran, 0, "is deleted", bucket, "delete-table", "delete-repository")
    done = list(dict.fromkeys(what for what in order if what in wanted))
    yield "down: task, then protection, then stack", [] if done == wanted else [f"the order was {json.dumps(done)}"]
    yield "down: no stack is left", stays(mine, [])
