"""`deployment/cloudformation/deploy` where AWS does not do as it was asked, against life_aws.py.

Stacks that failed, hosts that do not come or go, calls that are refused.
"""

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from checks.commands import first_in_path, output, run
from checks.deployment.life_aws import stand_in
from checks.repository import ROOT
from checks.tables import assert_none, expect, rows

SCRIPT = ROOT / "deployment/cloudformation/deploy"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "@sha256:" + "a" * 64
RESOURCES = {
    "Hosts": "AWS::AutoScaling::AutoScalingGroup",
    "Service": "AWS::ECS::Service",
    "Cluster": "AWS::ECS::Cluster",
    "Bucket": "AWS::S3::Bucket",
    "EventTable": "AWS::DynamoDB::Table",
    "PositionTable": "AWS::DynamoDB::Table",
    "Repository": "AWS::ECR::Repository",
    "Logs": "AWS::Logs::LogGroup",
}


def resources(status: str, **others: str) -> list[dict[str, str]]:
    """The resources of a stack, all of a status but for `others`."""
    return [
        {
            "LogicalResourceId": name,
            "PhysicalResourceId": f"my-{name.lower()}",
            "ResourceType": kind,
            "ResourceStatus": others.get(name, status),
        }
        for name, kind in RESOURCES.items()
    ]


RUNNING: dict[str, Any] = {
    "stack": {
        "status": "UPDATE_COMPLETE",
        "resources": resources("CREATE_COMPLETE"),
        "parameters": {"ImageUri": f"{REGISTRY}/kvs-infer-1{DIGEST}"},
    },
    "coming": [],
    "hosts": ["i-1"],
    "protected": True,
    "desired": 1,
    "cluster_hosts": ["arn:host-1"],
    "faults": {},
    "stack_events": [],
    "service_events": [],
    "refusals": [],
    "refreshes": ["InProgress", "Successful"],
    "preferences": {},
    "uploads": {},
    "roles": [],
    "calls": [],
}


@dataclass
class ScriptRun:
    """The end of a run of the script, and the state that it left."""

    code: int
    printed: str
    state: dict[str, Any]

    def ended(self, code: int, *texts: str, never: tuple[str, ...] = (), order: tuple[str, ...] = ()) -> None:
        """Fails unless it ended so, with these texts, none of `never`, and some calls in this order."""
        printed, calls = self.printed.strip()[-400:], self.state["calls"]
        found = expect(self.code == code, f"exit code {self.code}, not {code}: {printed}")
        found += [f"does not print {text!r}: {printed}" for text in texts if text not in self.printed]
        found += [f"prints or calls {text!r}" for text in never if text in self.printed or text in calls]
        done = tuple(dict.fromkeys(call for call in calls if call in order))
        assert_none(found + expect(done == order, f"called {done}, not {order}"))


def deploy(
    verb: str, state: dict[str, Any], more: str = "", config: str | None = None, **environment: str
) -> ScriptRun:
    """Runs the script on a copy of a state; `more` are lines of parameters.env, `config` replaces the example."""
    state, example = copy.deepcopy(state), ROOT / "deployment/cloudformation"
    with tempfile.TemporaryDirectory() as name, stand_in(state, Path(name) / "aws"):
        parameters = Path(name) / "parameters.env"
        parameters.write_text((example / "parameters.example.env").read_text() + more)
        cameras = Path(name) / "cameras.yaml"
        cameras.write_text((example / "cameras.example.yaml").read_text() if config is None else config)
        mine = first_in_path(Path(name)) | {
            "AWS_REGION": "eu-west-1",
            "STACK": "kvs-infer",
            "CONFIRM": "kvs-infer",
            "POLLS": "3",
            "POLL_SECONDS": "0",
            "PARAMETERS": str(parameters),
            "CONFIG": str(cameras),
            "MODELS": "/nowhere",
            "IMG": "",
        }
        finished = run([SCRIPT, verb], environment=mine | environment, timeout_s=120)
        return ScriptRun(finished.returncode, output(finished), state)


def like(**changes: Any) -> dict[str, Any]:
    """The running stack with some of its state changed."""
    return copy.deepcopy(RUNNING) | changes


def stack(status: str, listed: list[dict[str, str]]) -> dict[str, Any]:
    """A stack of a status with these resources."""
    return {"status": status, "resources": listed, "parameters": {}}


GONE = ("autoscaling update-auto-scaling-group", "ecs update-service")
CHANGE = "cloudformation create-change-set"
DELETE = "cloudformation delete-stack"

# --- down ------------------------------------------------------------------------------------------------------------


def test_down_after_a_failed_create() -> None:
    after_create = like(stack=stack("ROLLBACK_COMPLETE", resources("DELETE_COMPLETE")), hosts=[], cluster_hosts=[])
    deploy("down", after_create).ended(0, "is deleted", never=(*GONE, "These remain"), order=(DELETE,))


def test_down_after_a_failed_delete_takes_the_cut_off_host_out_of_the_cluster() -> None:
    left = resources("DELETE_COMPLETE", Cluster="DELETE_FAILED", Bucket="DELETE_SKIPPED")
    again = like(stack=stack("DELETE_FAILED", left), hosts=[])
    order = ("ecs deregister-container-instance", DELETE)
    deploy("down", again).ended(0, "is deleted", never=GONE, order=order)


def test_down_ends_the_task_then_the_protection_then_hosts_then_the_stack() -> None:
    order = (
        "ecs update-service",
        "autoscaling update-auto-scaling-group",
        "autoscaling set-instance-protection",
        DELETE,
    )
    deploy("down", RUNNING).ended(0, "is deleted", "my-bucket", "containerinsights/my-cluster", order=order)


def test_down_suspends_the_scaling_before_it_stops_the_tasks() -> None:
    scaled = copy.deepcopy(RUNNING)
    target = {
        "LogicalResourceId": "ScalableTarget",
        "PhysicalResourceId": "service/my-cluster/my-service|ecs:service:DesiredCount|ecs",
        "ResourceType": "AWS::ApplicationAutoScaling::ScalableTarget",
        "ResourceStatus": "CREATE_COMPLETE",
    }
    scaled["stack"]["resources"].append(target)
    suspend = "application-autoscaling register-scalable-target"
    down = deploy("down", scaled)
    down.ended(0, "is deleted", order=(suspend, "ecs update-service", DELETE))
    # With its minimum above 0, the call itself would start tasks.
    assert down.state["suspended"] == ("service/my-cluster/my-service", "0")
    deploy("down", RUNNING).ended(0, "is deleted", never=(suspend,))


def test_down_leaves_no_host_behind() -> None:
    state = deploy("down", RUNNING).state
    assert state["hosts"] == state["cluster_hosts"] == []


def test_down_removes_a_host_that_does_not_report_its_end_to_ecs() -> None:
    silent = like(faults={"silent_agent": True})
    deploy("down", silent).ended(0, "is deleted", order=("ecs deregister-container-instance",))


def test_down_does_not_take_hosts_that_cannot_be_described_for_gone() -> None:
    busy = deploy("down", like(faults={"group_once": True}))
    busy.ended(0, "is deleted")
    assert busy.state["hosts"] == []


def test_down_does_the_rest_where_a_step_is_refused() -> None:
    refused = like(faults={"update_service": "not authorized"})
    deploy("down", refused).ended(0, "not authorized", "the rest is done all the same", "is deleted")


def test_down_of_a_stack_that_cannot_be_deleted_gives_the_reason_and_what_costs() -> None:
    reason = {
        "LogicalResourceId": "EventStream",
        "ResourceStatus": "DELETE_FAILED",
        "ResourceStatusReason": "in use by another",
    }
    kept = deploy("down", like(faults={"delete": "Logs"}, stack_events=[reason]))
    never = ("the stack kvs-infer is deleted", "my-bucket")
    kept.ended(1, "in use by another", "my-logs", "DELETE_FAILED", "make teardown again", never=never)


def test_down_waits_for_no_stack_that_is_being_changed() -> None:
    changing = like(stack=stack("UPDATE_IN_PROGRESS", resources("CREATE_COMPLETE")))
    deploy("down", changing).ended(1, "wait until it is done", "cancel-update-stack", never=(DELETE,))


def test_down_without_a_stack() -> None:
    deploy("down", like(stack=None)).ended(1, "there is no stack")


# --- up where the change fails or does not end -----------------------------------------------------------------------

FIRST_FAILS = like(stack=None, faults={"coming": ["CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE"]})


def test_up_without_a_host_gives_the_reason_and_says_that_nothing_was_taken_back() -> None:
    waiting = ["UPDATE_IN_PROGRESS"] * 9
    reasons = {"refusals": ["VcpuLimitExceeded"], "service_events": ["was unable to place a task"]}
    texts = ["still UPDATE_IN_PROGRESS", "Nothing was taken back", "VcpuLimitExceeded", "unable to place a task"]
    slow = deploy("up", like(faults={"coming": waiting}, **reasons))
    slow.ended(1, *texts, "cancel-update-stack", never=("has gone back",))


def test_up_with_a_change_that_fails() -> None:
    back = like(faults={"coming": ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]})
    deploy("up", back).ended(1, "has gone back to what was before")


def test_up_with_a_way_back_that_fails() -> None:
    stuck = like(faults={"coming": ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"]})
    deploy("up", stuck).ended(1, "continue-update-rollback", never=("has gone back",))


def test_up_with_a_first_create_that_fails() -> None:
    deploy("up", FIRST_FAILS).ended(1, "can only be deleted", "make teardown", never=("has gone back",))


def test_up_makes_the_roles_of_services_before_the_stack_that_needs_them() -> None:
    deploy("up", FIRST_FAILS).ended(1, order=("iam create-service-linked-role", CHANGE))


def test_up_does_not_take_a_stack_that_cannot_be_described_for_none() -> None:
    deploy("up", like(faults={"describe": "Rate exceeded"})).ended(1, "Rate exceeded", never=(CHANGE,))


def test_up_with_a_change_that_works() -> None:
    deploy("up", RUNNING).ended(0, "deployed to kvs-infer")


def test_up_on_a_stack_that_failed() -> None:
    dead = like(stack=stack("ROLLBACK_COMPLETE", resources("DELETE_COMPLETE")))
    deploy("up", dead).ended(1, "make teardown", never=(CHANGE,))


# --- images that are refused before anything is made -----------------------------------------------------------------

OURS, OTHERS = f"{REGISTRY}/kvs-infer-2{DIGEST}", f"{REGISTRY}/team/detector{DIGEST}"


def test_an_image_of_a_repository_that_the_role_covers() -> None:
    deploy("up", RUNNING, IMG=OURS).ended(0, "deployed")


def test_an_image_of_another_repository_is_refused() -> None:
    deploy("up", RUNNING, IMG=OTHERS).ended(
        1, "is not allowed to pull", "ImageRepositories=team/detector", never=(CHANGE,)
    )


def test_an_image_of_another_repository_is_refused_by_plan() -> None:
    deploy("plan", RUNNING, IMG=OTHERS).ended(1, "is not allowed to pull")


def test_an_image_that_the_parameters_allow() -> None:
    deploy("up", RUNNING, "ImageRepositories=team/*\n", IMG=OTHERS).ended(0, "deployed")


def test_an_image_that_the_stack_allows_already() -> None:
    allowed = copy.deepcopy(RUNNING)
    allowed["stack"]["parameters"]["ImageRepositories"] = "team/detector"
    deploy("up", allowed, IMG=OTHERS).ended(0, "deployed")


@pytest.mark.parametrize(
    "registry",
    [
        pytest.param(REGISTRY.replace("123456789012", "210987654321"), id="account"),
        pytest.param(REGISTRY.replace("eu-west-1", "us-east-1"), id="region"),
    ],
)
def test_an_image_is_refused_of_another(registry: str) -> None:
    deploy("up", RUNNING, IMG=f"{registry}/kvs-infer-2{DIGEST}").ended(1, "ECR of this account and region")


# --- the checks before a deployment ----------------------------------------------------------------------------------

PRIVATE = "KvsEndpoint=true\n"


def test_plan_with_the_video_endpoint_in_the_zones() -> None:
    deploy("plan", RUNNING, PRIVATE).ended(0)


def test_plan_with_a_zone_without_the_video_endpoint() -> None:
    one_zone = like(faults={"video_zones": ["eu-west-1a"]})
    deploy("plan", one_zone, PRIVATE).ended(1, "zone eu-west-1b has no private endpoint")


def test_plan_in_a_region_without_the_video_endpoint() -> None:
    deploy("plan", like(faults={"video_zones": []}), PRIVATE).ended(1, "eu-west-1 has no private endpoint")


def test_plan_leaves_local_zones_out() -> None:
    deploy("plan", RUNNING).ended(0, never=("bos",))


def test_plan_refuses_two_instance_types() -> None:
    deploy("plan", RUNNING, "InstanceTypes=g4dn.xlarge,g5.xlarge\n").ended(1, "must be three types")


def test_plan_shows_the_ami_of_the_hosts_and_of_new_ones() -> None:
    deploy("plan", RUNNING).ended(0, "ami-old", "ami-new", "nothing was changed")


# --- several workers -------------------------------------------------------------------------------------------------

PLAIN, SHARED = "s3://my-bucket/config/cameras.yaml", "s3://my-bucket/config/cameras.yaml.shared"
LINE = 'sharing: { table: "${WORKER_TABLE}" }\n'
CONFIG = "cameras: []\n"
SEVERAL = copy.deepcopy(RUNNING)
SEVERAL["stack"]["parameters"]["Workers"] = "3"


def test_up_of_one_task_uploads_the_configuration_as_it_is() -> None:
    assert deploy("up", RUNNING, config=CONFIG).state["uploads"] == {PLAIN: CONFIG}


def test_up_of_several_workers_uploads_a_configuration_that_shares_and_leaves_the_one_tasks_alone() -> None:
    up = deploy("up", RUNNING, "Workers=3\n", config=CONFIG)
    up.ended(0, "deployed")
    assert up.state["uploads"] == {SHARED: f"{CONFIG}\n{LINE}"}


@pytest.mark.parametrize(
    "config",
    rows(
        {
            "a line of its own": f"{CONFIG}sharing:\n  table: mine\n",
            "without a line break at the end": CONFIG + LINE.strip(),
            "in braces": '{"cameras": [], "sharing": {"table": "mine"}}\n',
        }
    ),
)
def test_up_of_several_workers_keeps_what_the_configuration_shares_by(config: str) -> None:
    up = deploy("up", RUNNING, "Workers=2\n", config=config)
    up.ended(0, "deployed")
    assert up.state["uploads"] == {SHARED: config}


def test_up_sees_no_sharing_in_a_comment_or_below_another_key() -> None:
    config = "#sharing: { table: a }\ncameras:\n  - id: a\n    sharing: b\n"
    up = deploy("up", RUNNING, "Workers=2\n", config=config)
    assert up.state["uploads"] == {SHARED: f"{config}\n{LINE}"}


def test_up_of_several_workers_refuses_braces_to_which_nothing_can_be_added() -> None:
    deploy("up", RUNNING, "Workers=2\n", config='{"cameras": []}').ended(1, "is in braces", never=(CHANGE, "s3 cp"))


def test_up_of_one_task_refuses_to_share() -> None:
    deploy("up", RUNNING, config=CONFIG + LINE).ended(1, "set Workers=2 or more", never=(CHANGE, "s3 cp"))


def test_up_shares_where_the_stack_does_and_the_file_does_not_say() -> None:
    assert deploy("up", SEVERAL, config=CONFIG).state["uploads"].keys() == {SHARED}


def test_up_that_goes_back_from_several_workers_to_one_task_restarts_it() -> None:
    back = {"coming": ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]}
    restart = ("ecs update-service",)
    deploy("up", like(faults=back), "Workers=3\n").ended(1, "has gone back", "restarting the task", order=restart)
    # These still have their cameras, or there is no task yet.
    deploy("up", like(faults=back)).ended(1, "has gone back", never=restart)
    first = like(faults=back, stack=stack("CREATE_COMPLETE", resources("CREATE_COMPLETE", Service="DELETE_COMPLETE")))
    deploy("up", first, "Workers=3\n", IMG=OURS).ended(1, "has gone back", never=restart)
    deploy("up", SEVERAL | {"faults": back}, "Workers=4\n").ended(1, "has gone back", never=restart)


def test_up_from_several_workers_to_one() -> None:
    up = deploy("up", SEVERAL, "Workers=1\n", config=CONFIG)
    up.ended(0, "deployed")
    assert up.state["uploads"] == {PLAIN: CONFIG}
    assert up.state["stack"]["parameters"]["Workers"] == "1"


def test_one_task_does_not_follow_where_the_number_follows_the_load() -> None:
    scaled = copy.deepcopy(SEVERAL)
    scaled["stack"]["parameters"]["MaxWorkers"] = "6"
    deploy("up", scaled, "Workers=1\nMaxWorkers=0\n").ended(1, "MaxWorkers=0 with Workers=3", never=(CHANGE, "s3 cp"))
    deploy("up", scaled, "Workers=3\nMaxWorkers=0\n").ended(0, "deployed")


@pytest.mark.parametrize(
    ("lines", "text"),
    rows(
        {
            "scaling of two": ("Workers=2\nMaxWorkers=6\n", "needs Workers=3 or more"),
            "scaling without workers": ("MaxWorkers=6\n", "needs Workers=3 or more"),
            "fewer at most than at least": ("Workers=5\nMaxWorkers=4\n", "is less than Workers=5"),
            "more workers than hosts": ("Workers=3\nMaxHosts=2\n", "less than the 3 workers"),
            "more workers at most than hosts": ("Workers=3\nMaxWorkers=6\nMaxHosts=5\n", "less than the 6 workers"),
            "no number": ("Workers=some\n", "is not a whole number"),
            "none": ("Workers=0\n", "would run no task"),
        }
    ),
)
def test_numbers_that_do_not_fit_are_refused(lines: str, text: str) -> None:
    for verb in ("up", "plan"):
        deploy(verb, RUNNING, lines).ended(1, text, never=(CHANGE, "s3 cp"))


@pytest.mark.parametrize(
    ("lines", "warns"),
    rows(
        {
            "one": ("", False),
            "two": ("Workers=2\n", False),
            "three": ("Workers=3\n", True),
            "one with a spare host": ("MaxHosts=3\n", True),
            "many at most": ("Workers=3\nMaxWorkers=9\n", True),
        }
    ),
)
def test_plan_warns_of_a_quota_for_fewer_hosts(lines: str, warns: bool) -> None:
    # The stand-in has a quota of 8 vCPU.
    printed = deploy("plan", RUNNING, lines).printed
    assert ("warning: the quota of G instances is 8 vCPU" in printed) == warns


def test_up_makes_the_role_of_scaling_only_where_the_number_follows_the_load() -> None:
    role = "ecs.application-autoscaling.amazonaws.com"
    assert role not in deploy("up", RUNNING, "Workers=3\n").state["roles"]
    assert role in deploy("up", RUNNING, "Workers=3\nMaxWorkers=6\n").state["roles"]


# --- refresh ---------------------------------------------------------------------------------------------------------


def test_refresh_takes_the_newest_ami_then_replaces_the_host() -> None:
    order = ("cloudformation execute-change-set", "autoscaling start-instance-refresh")
    deploy("refresh", RUNNING).ended(0, "hosts: Successful", order=order)


def test_refresh_replaces_the_protected_host_without_a_second_gpu() -> None:
    wanted = {"MinHealthyPercentage": 0, "ScaleInProtectedInstances": "Refresh", "SkipMatching": True}
    assert deploy("refresh", RUNNING).state["preferences"] == wanted


@pytest.mark.parametrize(("workers", "percent"), [pytest.param(2, 50, id="two"), pytest.param(3, 66, id="three")])
def test_refresh_of_several_workers_replaces_a_third_at_a_time_or_one(workers: int, percent: int) -> None:
    wanted = {
        "MinHealthyPercentage": percent,
        "InstanceWarmup": 600,
        "ScaleInProtectedInstances": "Refresh",
        "SkipMatching": True,
    }
    several = copy.deepcopy(RUNNING)
    several["stack"]["parameters"]["Workers"] = str(workers)
    assert deploy("refresh", several).state["preferences"] == wanted


def test_refresh_does_not_change_the_number_of_workers() -> None:
    more = deploy("refresh", RUNNING, "Workers=3\n")
    more.ended(1, "make deploy first", never=(CHANGE, "autoscaling start-instance-refresh"))


def test_refresh_with_nothing_new_to_the_stack() -> None:
    deploy("refresh", like(faults={"unchanged": True})).ended(0, "hosts: Successful")


def test_refresh_that_fails() -> None:
    deploy("refresh", like(refreshes=["Failed"])).ended(1, "the hosts are not replaced")


def test_refresh_that_does_not_end() -> None:
    endless = like(refreshes=["InProgress"], refusals=["no capacity"])
    deploy("refresh", endless).ended(1, "not replaced after", "no capacity")


def test_refresh_without_a_host() -> None:
    deploy("refresh", like(hosts=[])).ended(0, "no host runs", never=("autoscaling start-instance-refresh",))


def test_refresh_without_a_stack() -> None:
    deploy("refresh", like(stack=None)).ended(1, "there is no stack")
