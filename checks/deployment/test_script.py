"""`deployment/cloudformation/deploy` from the first `plan` to `down`, against a local AWS as far as that goes.

The runs build on one another: a fixture is a run, which needs the run before it, and the tests look at what it left.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest

from checks.commands import output
from checks.deployment.files import load
from checks.deployment.local_aws import LocalAws, RecordedCall, default_network, local_aws
from checks.repository import ROOT
from checks.tables import assert_none, expect

SCRIPT = ROOT / "deployment/cloudformation/deploy"


class Deployment:
    """A reader's files, the script run on them, and the stack afterwards."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.folder = aws, aws.folder / "mine"
        ami = load().template["Parameters"]["GpuAmi"]["Default"]
        self.network = [f"{name}={value}" for name, value in (default_network(aws) | {"GpuAmi": ami}).items()]
        (self.folder / "models").mkdir(parents=True)
        (self.folder / "models/street.onnx").write_bytes(b"a model")
        shutil.copy(ROOT / "deployment/cloudformation/cameras.example.yaml", self.folder / "cameras.yaml")
        self.write_parameters()

    def write_parameters(self, *more: str) -> None:
        """Writes the example's parameters, and these.

        The network and the AMI are given: moto cannot delete a VPC, nor keep a parameter that names one of SSM.
        """
        example = (ROOT / "deployment/cloudformation/parameters.example.env").read_text()
        (self.folder / "parameters.env").write_text("\n".join([example, *self.network, *more, ""]))

    def run(self, verb: str, **more: str) -> CompletedProcess[str]:
        """Runs the script."""
        mine = {"PARAMETERS": "parameters.env", "CONFIG": "cameras.yaml", "MODELS": "models"}
        files = {name: str(self.folder / file) for name, file in mine.items()}
        return self.aws.bash(f'"{SCRIPT}" {verb}', self.folder, **({"POLLS": "3", "POLL_SECONDS": "0"} | files | more))

    def stacks(self) -> list[str]:
        """Returns the names of the stacks."""
        return [item["StackName"] for item in self.aws.client("cloudformation").describe_stacks()["Stacks"]]

    def parameter(self, name: str) -> str:
        """Returns a parameter of the stack, or nothing."""
        listed = self.aws.client("cloudformation").describe_stacks(StackName="kvs-infer")["Stacks"][0]["Parameters"]
        return next((item["ParameterValue"] for item in listed if item["ParameterKey"] == name), "")

    def shared(self) -> str:
        """Returns the configuration of several workers in the bucket."""
        found = self.aws.client("s3").get_object(Bucket=self.resource("Bucket"), Key="config/cameras.yaml.shared")
        text: str = found["Body"].read().decode()
        return text

    def resource(self, name: str) -> str:
        """Returns the physical name of a resource of the stack, or nothing."""
        pages = self.aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName="kvs-infer")
        listed = {
            item["LogicalResourceId"]: item["PhysicalResourceId"]
            for page in pages
            for item in page["StackResourceSummaries"]
        }
        return listed.get(name, "")


@dataclass
class Run:
    """A run of the script: its end, its calls, and the image of the stack afterwards."""

    ran: CompletedProcess[str]
    calls: list[RecordedCall]
    image: str

    def made(self) -> list[str]:
        """Returns the targets of make that it called."""
        return [call["what"].split()[2] for call in self.calls if call["program"] == "make"]


def ended(ran: CompletedProcess[str], code: int, *texts: str) -> None:
    """Fails unless it ended with the exit code and printed these texts."""
    printed = output(ran)
    found = expect(ran.returncode == code, f"exit code {ran.returncode}, not {code}: {printed.strip()[-600:]}")
    assert_none(found + [f"does not print {text!r}: {printed.strip()[-600:]}" for text in texts if text not in printed])


def run_up(deployment: Deployment, **more: str) -> Run:
    """Runs `up`."""
    deployment.aws.calls()
    ran = deployment.run("up", **more)
    return Run(ran, deployment.aws.calls(), deployment.parameter("ImageUri"))


# --- before there is a stack -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Returns the reader's files, beside a local AWS without a stack."""
    with local_aws() as aws:
        yield Deployment(aws)


def test_without_a_verb_it_prints_its_usage(deployment: Deployment) -> None:
    ended(deployment.run(""), 64, "up|plan|refresh|down")


def test_a_name_that_ecs_refuses(deployment: Deployment) -> None:
    ended(deployment.run("plan", STACK="ecs-cameras"), 1, "STACK=ecs-cameras is not possible")


def test_up_without_parameters_says_which_file_to_copy(deployment: Deployment) -> None:
    ended(deployment.run("up", PARAMETERS="/nowhere"), 1, "copy", "parameters.example.env")


def test_plan_of_a_new_stack_makes_none(deployment: Deployment) -> None:
    ended(deployment.run("plan"), 0, "EventStream", "nothing was changed")
    assert deployment.stacks() == []


def test_down_without_a_stack(deployment: Deployment) -> None:
    ended(deployment.run("down"), 1, "there is no stack")


# --- the first `up` --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first(deployment: Deployment) -> Run:
    """Deploys from nothing."""
    return run_up(deployment)


def test_up_is_one_command_from_nothing_to_the_service(first: Run) -> None:
    ended(first.ran, 0, "deployed to kvs-infer")


def test_up_builds_the_image_then_pushes_it(first: Run) -> None:
    assert first.made() == ["docker-build", "docker-push"]


def test_up_gives_the_service_its_image_by_digest(deployment: Deployment, first: Run) -> None:
    assert "@sha256:" in first.image
    assert deployment.resource("Service")


def test_up_uploads_configuration_and_models(deployment: Deployment, first: Run) -> None:
    listed = deployment.aws.client("s3").list_objects_v2(Bucket=deployment.resource("Bucket")).get("Contents", [])
    assert {item["Key"] for item in listed} == {"config/cameras.yaml", "models/street.onnx"}


# --- changes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second(deployment: Deployment, first: Run) -> Run:
    """Deploys again, with nothing changed."""
    return run_up(deployment)


def test_up_again_builds_no_image(second: Run) -> None:
    ended(second.ran, 0)
    assert second.made() == []


def test_up_again_keeps_the_image(first: Run, second: Run) -> None:
    assert second.image == first.image


@pytest.fixture(scope="module")
def changed_file(deployment: Deployment, second: Run) -> None:
    """Writes another parameter."""
    deployment.write_parameters("LogDays=7")


@pytest.fixture(scope="module")
def planned(deployment: Deployment, changed_file: None) -> tuple[CompletedProcess[str], str]:
    """Plans the change: the end of the run, and the parameter of the stack afterwards."""
    return deployment.run("plan"), deployment.parameter("LogDays")


def test_plan_of_a_parameter(planned: tuple[CompletedProcess[str], str]) -> None:
    ended(planned[0], 0, "nothing was changed")


def test_plan_changes_nothing(planned: tuple[CompletedProcess[str], str]) -> None:
    assert planned[1] in ("", "30")


@pytest.fixture(scope="module")
def changed(deployment: Deployment, planned: tuple[CompletedProcess[str], str]) -> Run:
    """Deploys the change."""
    return run_up(deployment)


def test_up_with_another_parameter(deployment: Deployment, changed: Run) -> None:
    ended(changed.ran, 0)
    assert deployment.parameter("LogDays") == "7"


def test_up_with_an_image_that_does_not_exist(deployment: Deployment, changed: Run) -> None:
    ended(deployment.run("up", IMG=f"{changed.image.split('@')[0]}:nowhere"), 1, "is not in ECR")


def test_up_with_an_image_of_elsewhere_by_tag(deployment: Deployment, changed: Run) -> None:
    ended(deployment.run("up", IMG="somewhere/kvs-infer:latest"), 1, "must be an image in ECR")


# --- several workers, and back ---------------------------------------------------------------------------------------


@dataclass
class Sharing:
    """A run of the script, and what there is for several workers afterwards."""

    ran: CompletedProcess[str]
    tasks: int
    table: str
    shared: str


def run_with_workers(deployment: Deployment, workers: int) -> Sharing:
    """Deploys with a number of workers."""
    deployment.write_parameters("LogDays=7", f"Workers={workers}")
    ran = deployment.run("up")
    described = deployment.aws.client("ecs").describe_services(
        cluster=deployment.resource("Cluster"), services=[deployment.resource("Service")]
    )
    return Sharing(
        ran, described["services"][0]["desiredCount"], deployment.resource("WorkerTable"), deployment.shared()
    )


@pytest.fixture(scope="module")
def shared(deployment: Deployment, changed: Run) -> Sharing:
    """Deploys three workers."""
    return run_with_workers(deployment, 3)


def test_up_with_three_workers_is_one_parameter(shared: Sharing) -> None:
    ended(shared.ran, 0, "deployed to kvs-infer")
    assert shared.tasks == 3
    assert shared.table


def test_up_with_three_workers_uploads_a_configuration_that_shares(deployment: Deployment, shared: Sharing) -> None:
    assert shared.shared == (deployment.folder / "cameras.yaml").read_text() + (
        '\nsharing: { table: "${WORKER_TABLE}" }\n'
    )


@pytest.fixture(scope="module")
def alone(deployment: Deployment, shared: Sharing) -> Sharing:
    """Deploys one task again."""
    return run_with_workers(deployment, 1)


# moto keeps the table of workers, whose condition does not hold any more: it deletes only what a template lacks.
def test_up_with_one_worker_again(alone: Sharing) -> None:
    ended(alone.ran, 0, "deployed to kvs-infer")
    assert alone.tasks == 1


# --- another image ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_image(deployment: Deployment, changed: Run, alone: Sharing) -> tuple[str, Run]:
    """Deploys another image, given by its digest."""
    image = f"{changed.image.split('@')[0]}@sha256:{'1' * 64}"
    return image, run_up(deployment, IMG=image)


def test_up_with_an_image_by_digest(other_image: tuple[str, Run]) -> None:
    image, up = other_image
    ended(up.ran, 0)
    assert up.image == image


# --- `down` ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refused(deployment: Deployment, other_image: tuple[str, Run]) -> tuple[CompletedProcess[str], list[str]]:
    """Answers the question of `down` wrongly: the end of the run, and the stacks afterwards."""
    return deployment.run("down", CONFIRM="yes"), deployment.stacks()


@pytest.fixture(scope="module")
def down(deployment: Deployment, refused: tuple[CompletedProcess[str], list[str]]) -> tuple[Run, str]:
    """Deletes a stack that has a host: the run, and the name of the bucket that remains."""
    group, bucket = deployment.resource("Hosts"), deployment.resource("Bucket")
    deployment.aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
    deployment.aws.calls()
    return Run(deployment.run("down", CONFIRM="kvs-infer"), deployment.aws.calls(), ""), bucket


def test_down_deletes_nothing_after_another_answer(refused: tuple[CompletedProcess[str], list[str]]) -> None:
    ended(refused[0], 1, "not deleted")
    assert refused[1] == ["kvs-infer"]


def test_down_deletes_the_stack_and_says_what_remains(down: tuple[Run, str]) -> None:
    ended(down[0].ran, 0, "is deleted", down[1], "delete-table", "delete-repository")


def test_down_ends_the_task_then_the_protection_then_the_stack(down: tuple[Run, str]) -> None:
    wanted = [
        "ecs update-service",
        "autoscaling update-auto-scaling-group",
        "autoscaling set-instance-protection",
        "cloudformation delete-stack",
    ]
    calls = [call["what"] for call in down[0].calls if call["program"] == "aws"]
    assert list(dict.fromkeys(call for call in calls if call in wanted)) == wanted


def test_down_leaves_no_stack(deployment: Deployment, down: tuple[Run, str]) -> None:
    assert deployment.stacks() == []
