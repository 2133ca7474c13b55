"""`deployment/cloudformation/deploy` where AWS does not do as it was asked: stacks that failed, hosts that do not come or go, calls that
are refused. Against life_aws.py, in seconds."""

import copy
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from life_aws import stand_in
from sources import ROOT

Result = tuple[str, list[str]]
SCRIPT = ROOT / "deployment/cloudformation/deploy"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "@sha256:" + "a" * 64
RESOURCES = {
    "Hosts": "AWS::AutoScaling::AutoScalingGroup", "Service": "AWS::ECS::Service", "Cluster": "AWS::ECS::Cluster", "Bucket": "AWS::S3::Bucket",
    "EventTable": "AWS::DynamoDB::Table", "PositionTable": "AWS::DynamoDB::Table", "Repository": "AWS::ECR::Repository", "Logs": "AWS::Logs::LogGroup",
}


def resources(status: str, **others: str) -> list[dict[str, str]]:
    """The resources of a stack, all of a status but for `others`."""
    return [
        {"LogicalResourceId": name, "PhysicalResourceId": f"my-{name.lower()}", "ResourceType": kind, "ResourceStatus": others.get(name, status)}
        for name, kind in RESOURCES.items()
    ]


RUNNING: dict[str, Any] = {
    "stack": {"status": "UPDATE_COMPLETE", "resources": resources("CREATE_COMPLETE"), "parameters": {"ImageUri": f"{REGISTRY}/kvs-infer-1{DIGEST}"}},
    "coming": [], "hosts": ["i-1"], "protected": True, "desired": 1, "cluster_hosts": ["arn:host-1"], "faults": {}, "stack_events": [],
    "service_events": [], "refusals": [], "refreshes": ["InProgress", "Successful"], "preferences": {}, "calls": [],
}


@dataclass
class Ran:
    """How the script ended, and the state that it left."""

    code: int
    said: str
    state: dict[str, Any]

    def wrong(self, code: int, *texts: str, never: tuple[str, ...] = (), order: tuple[str, ...] = ()) -> list[str]:
        """What is not as it should be: the exit code, what it must and must not say, and the order of some calls."""
        found = [] if self.code == code else [f"exit code {self.code}, not {code}: {self.said.strip()[-400:]}"]
        found += [f"does not say {text!r}: {self.said.strip()[-400:]}" for text in texts if text not in self.said]
        found += [f"says or calls {text!r}" for text in never if text in self.said or text in self.state["calls"]]
        done = [call for call in self.state["calls"] if call in order]
        return found + ([f"called {done}, not {list(order)}"] if order and tuple(dict.fromkeys(done)) != order else [])


def ran(verb: str, state: dict[str, Any], more: str = "", **environment: str) -> Ran:
    """Runs the script on a copy of a state; `more` are lines of parameters.env."""
    state, example = copy.deepcopy(state), ROOT / "deployment/cloudformation"
    with tempfile.TemporaryDirectory() as name, stand_in(state, Path(name) / "aws"):
        parameters = Path(name) / "parameters.env"
        parameters.write_text((example / "parameters.example.env").read_text() + more)
        mine = {
            "PATH": f"{name}:{os.environ['PATH']}", "AWS_REGION": "eu-west-1", "STACK": "kvs-infer", "CONFIRM": "kvs-infer", "POLLS": "3", "POLL_SECONDS": "0",
            "PARAMETERS": str(parameters), "CONFIG": str(example / "cameras.example.yaml"), "MODELS": "/nowhere", "IMG": "",
        }
        finished = subprocess.run([SCRIPT, verb], env=os.environ | mine | environment, capture_output=True, text=True, check=False, timeout=120)
        return Ran(finished.returncode, finished.stdout + finished.stderr, state)


def like(**changes: Any) -> dict[str, Any]:
    """The running stack with some of its state changed."""
    return copy.deepcopy(RUNNING) | changes


def stack(status: str, listed: list[dict[str, str]]) -> dict[str, Any]:
    """A stack of a status with these resources."""
    return {"status": status, "resources": listed, "parameters": {}}


def teardowns() -> Iterator[Result]:
    """`down`, whatever the stack has come to."""
    gone = ("autoscaling update-auto-scaling-group", "ecs update-service")
    after_create = like(stack=stack("ROLLBACK_COMPLETE", resources("DELETE_COMPLETE")), hosts=[], cluster_hosts=[])
    yield "down after a failed create", ran("down", after_create).wrong(0, "is deleted", never=(*gone, "These remain"), order=("cloudformation delete-stack",))
    left = resources("DELETE_COMPLETE", Cluster="DELETE_FAILED", Bucket="DELETE_SKIPPED")
    again = like(stack=stack("DELETE_FAILED", left), hosts=[])
    yield "down after a failed delete: the cut-off host leaves the cluster", ran("down", again).wrong(
        0, "is deleted", never=gone, order=("ecs deregister-container-instance", "cloudformation delete-stack")
    )
    order = ("ecs update-service", "autoscaling update-auto-scaling-group", "autoscaling set-instance-protection", "cloudformation delete-stack")
    done = ran("down", RUNNING)
    yield "down: task, protection, hosts, stack", done.wrong(0, "is deleted", "my-bucket", "containerinsights/my-cluster", order=order)
    yield "down: no host is left behind", [] if done.state["hosts"] == done.state["cluster_hosts"] == [] else [f"{done.state['hosts']}, {done.state['cluster_hosts']}"]
    yield "down: a host that says nothing to ECS", ran("down", like(faults={"silent_agent": True})).wrong(0, "is deleted", order=("ecs deregister-container-instance",))
    busy = ran("down", like(faults={"group_once": True}))
    yield "down: hosts that cannot be described are not taken for gone", busy.wrong(0, "is deleted") + ([] if busy.state["hosts"] == [] else ["a host is there"])
    refused = like(faults={"update_service": "not authorized"})
    yield "down: a step that is refused is finished, and the rest done", ran("down", refused).wrong(0, "not authorized", "the rest is done all the same", "is deleted")
    why = [{"LogicalResourceId": "EventStream", "ResourceStatus": "DELETE_FAILED", "ResourceStatusReason": "in use by another"}]
    kept = ran("down", like(faults={"delete": "Logs"}, stack_events=why))
    yield "down: a stack that cannot be deleted: why, and what costs", kept.wrong(1, "in use by another", "my-logs", "DELETE_FAILED", "make teardown again", never=("the stack kvs-infer is deleted", "my-bucket"))
    changing = like(stack=stack("UPDATE_IN_PROGRESS", resources("CREATE_COMPLETE")))
    yield "down: a stack that is being changed", ran("down", changing).wrong(1, "wait until it is done", "cancel-update-stack", never=("cloudformation delete-stack",))
    yield "down: no stack", ran("down", like(stack=None)).wrong(1, "there is no stack")


def waits() -> Iterator[Result]:
    """`up` where the change fails or does not end."""
    slow = like(faults={"coming": ["UPDATE_IN_PROGRESS"] * 9}, refusals=["VcpuLimitExceeded"], service_events=["was unable to place a task"])
    yield "up: no host: says why, and that nothing was taken back", ran("up", slow).wrong(
        1, "still UPDATE_IN_PROGRESS", "Nothing was taken back", "VcpuLimitExceeded", "unable to place a task", "cancel-update-stack", never=("has gone back",)
    )
    back = like(faults={"coming": ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]})
    yield "up: a change that failed", ran("up", back).wrong(1, "has gone back to what was before")
    stuck = like(faults={"coming": ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"]})
    yield "up: a way back that failed", ran("up", stuck).wrong(1, "continue-update-rollback", never=("has gone back",))
    first = like(stack=None, faults={"coming": ["CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE"]})
    yield "up: a first create that failed", ran("up", first).wrong(1, "can only be deleted", "make teardown", never=("has gone back",))
    yield "up: the roles of services come before the stack that needs them", ran("up", first).wrong(
        1, order=("iam create-service-linked-role", "cloudformation create-change-set")
    )
    cut = like(faults={"describe": "Rate exceeded"})
    yield "up: a stack that cannot be described is not taken for none", ran("up", cut).wrong(1, "Rate exceeded", never=("cloudformation create-change-set",))
    yield "up: a change that works", ran("up", RUNNING).wrong(0, "deployed to kvs-infer")
    dead = like(stack=stack("ROLLBACK_COMPLETE", resources("DELETE_COMPLETE")))
    yield "up: on a stack that failed", ran("up", dead).wrong(1, "make teardown", never=("cloudformation create-change-set",))


def images() -> Iterator[Result]:
    """Which images are refused before anything is made."""
    ours, others = f"{REGISTRY}/kvs-infer-2{DIGEST}", f"{REGISTRY}/team/detector{DIGEST}"
    yield "image: of a repository that the role covers", ran("up", RUNNING, IMG=ours).wrong(0, "deployed")
    refused = ran("up", RUNNING, IMG=others)
    yield "image: of another repository", refused.wrong(1, "is not allowed to pull", "ImageRepositories=team/detector", never=("cloudformation create-change-set",))
    yield "image: the same to a plan", ran("plan", RUNNING, IMG=others).wrong(1, "is not allowed to pull")
    yield "image: allowed by the parameters", ran("up", RUNNING, "ImageRepositories=team/*\n", IMG=others).wrong(0, "deployed")
    allowed = copy.deepcopy(RUNNING)
    allowed["stack"]["parameters"]["ImageRepositories"] = "team/detector"
    yield "image: allowed by the stack as it is", ran("up", allowed, IMG=others).wrong(0, "deployed")
    for name, registry in {"account": REGISTRY.replace("123456789012", "210987654321"), "region": REGISTRY.replace("eu-west-1", "us-east-1")}.items():
        yield f"image: of another {name}", ran("up", RUNNING, IMG=f"{registry}/kvs-infer-2{DIGEST}").wrong(1, "ECR of this account and region")


def before() -> Iterator[Result]:
    """The checks before a deployment."""
    private = "KvsEndpoint=true\n"
    yield "zones: the video endpoint is in them", ran("plan", RUNNING, private).wrong(0)
    yield "zones: one without the video endpoint", ran("plan", like(faults={"video_zones": ["eu-west-1a"]}), private).wrong(1, "zone eu-west-1b has no private endpoint")
    yield "zones: a region without it", ran("plan", like(faults={"video_zones": []}), private).wrong(1, "eu-west-1 has no private endpoint")
    yield "zones: Local Zones are none of ours", ran("plan", RUNNING).wrong(0, never=("bos",))
    yield "types: two are too few", ran("plan", RUNNING, "InstanceTypes=g4dn.xlarge,g5.xlarge\n").wrong(1, "must be three types")
    yield "plan: shows the AMI of the hosts and of new ones", ran("plan", RUNNING).wrong(0, "ami-old", "ami-new", "nothing was changed")


def refreshes() -> Iterator[Result]:
    """`refresh`: the host by a newer one."""
    order = ("cloudformation execute-change-set", "autoscaling start-instance-refresh")
    done = ran("refresh", RUNNING)
    yield "refresh: the newest AMI first, then the host", done.wrong(0, "hosts: Successful", order=order)
    wanted = {"MinHealthyPercentage": 0, "ScaleInProtectedInstances": "Refresh", "SkipMatching": True}
    yield "refresh: the protected host as well, without a second GPU", [] if done.state["preferences"] == wanted else [f"{done.state['preferences']}"]
    yield "refresh: nothing new to the stack", ran("refresh", like(faults={"unchanged": True})).wrong(0, "hosts: Successful")
    yield "refresh: one that fails", ran("refresh", like(refreshes=["Failed"])).wrong(1, "the hosts are not replaced")
    yield "refresh: one that does not end", ran("refresh", like(refreshes=["InProgress"], refusals=["no capacity"])).wrong(1, "not replaced after", "no capacity")
    yield "refresh: no host", ran("refresh", like(hosts=[])).wrong(0, "no host runs", never=("autoscaling start-instance-refresh",))
    yield "refresh: no stack", ran("refresh", like(stack=None)).wrong(1, "there is no stack")


def results() -> Iterator[Result]:
    """All of them."""
    for part in (teardowns, waits, images, before, refreshes):
        yield from part()
