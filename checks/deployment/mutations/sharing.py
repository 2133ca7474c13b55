"""Mistakes that the rules of several tasks, and of the one task, must catch."""

from collections.abc import Callable
from typing import Any

from checks.deployment.files import Files
from checks.deployment.mutations.edits import SERVICE, Mutation, conditional, sharing_statement, stack
from checks.deployment.rules import sharing


def set_percent(files: Files, least: Any, most: int = 100) -> None:
    """Changes the share of the tasks that a deployment leaves."""
    stack(files, "Service")["DeploymentConfiguration"].update(MinimumHealthyPercent=least, MaximumPercent=most)


def set_variable(files: Files, name: str, value: Any) -> None:
    """Gives a variable of the stack's task another value."""
    variables = files.stack_container()["Environment"]
    next(item for item in variables if item.get("Name") == name)["Value"] = value


def drop_variable(files: Files, name: str) -> None:
    """Removes a variable that the stack's task has on a condition."""
    variables = files.stack_container()["Environment"]
    variables.remove(next(item for item in variables if name in str(item)))


def rename_key(files: Files) -> None:
    """Gives the table of workers another sort key."""
    table = stack(files, "WorkerTable")
    table["KeySchema"][1]["AttributeName"] = table["AttributeDefinitions"][1]["AttributeName"] = "worker"


def replace_in_guide(part: str, instead: str) -> Callable[[Files], None]:
    """Returns an edit of the guide."""

    def replace(files: Files) -> None:
        files.guide = files.guide.replace(part, instead)

    return replace


def policy(files: Files) -> dict[str, Any]:
    """Returns the configuration by which the number of tasks follows the load."""
    found: dict[str, Any] = stack(files, "LoadPolicy")["TargetTrackingScalingPolicyConfiguration"]
    return found


ONE_TASK = [
    Mutation("two tasks", sharing.one_task_unless_they_share, lambda f: f.ecs[SERVICE].update(desiredCount=2)),
    Mutation(
        "two tasks by default, in the stack",
        sharing.one_task_unless_they_share,
        lambda f: stack(f, "Service").update(DesiredCount=2),
    ),
    Mutation(
        "three workers by default",
        sharing.one_task_unless_they_share,
        lambda f: f.template["Parameters"]["Workers"].update(Default=3),
    ),
    Mutation(
        "one task that scales",
        sharing.one_task_unless_they_share,
        lambda f: f.template["Resources"]["ScalableTarget"].pop("Condition"),
    ),
    Mutation(
        "a service that scales",
        sharing.one_task_unless_they_share,
        lambda f: f.template["Resources"].update(Scaling={"Type": "AWS::ApplicationAutoScaling::ScalableTarget"}),
    ),
    Mutation(
        "a table that one task does not need",
        sharing.one_task_unless_they_share,
        lambda f: f.template["Resources"]["WorkerTable"].pop("Condition"),
    ),
    Mutation(
        "one task that is placed otherwise than before",
        sharing.one_task_unless_they_share,
        lambda f: stack(f, "Service").update(PlacementConstraints=[{"Type": "distinctInstance"}]),
    ),
]
TABLE = [
    Mutation(
        "several tasks without the table",
        sharing.several_tasks_share_a_table,
        lambda f: f.template["Resources"]["WorkerTable"].update(Condition="Scales"),
    ),
    Mutation(
        "workers that do not know their table",
        sharing.several_tasks_share_a_table,
        lambda f: drop_variable(f, "WORKER_TABLE"),
    ),
    Mutation(
        "workers with another table's name",
        sharing.several_tasks_share_a_table,
        lambda f: next(item for item in f.stack_container()["Environment"] if "Fn::If" in item)["Fn::If"][1].update(
            Value={"Ref": "PositionTable"}
        ),
    ),
    Mutation(
        "workers with the configuration of one task",
        sharing.several_tasks_share_a_table,
        lambda f: set_variable(f, "CONFIG_FILE", {"Fn::Sub": "s3://${Bucket}/${ConfigKey}"}),
    ),
    Mutation(
        "an upload that no worker reads",
        sharing.several_tasks_share_a_table,
        lambda f: setattr(f, "deploy", f.deploy.replace('key+=".shared"', 'key+=".common"')),
    ),
    Mutation(
        "more tasks than Workers",
        sharing.several_tasks_share_a_table,
        lambda f: stack(f, "Service").update(DesiredCount={"Fn::If": ["Shares", 7, 1]}),
    ),
    Mutation(
        "rows of dead workers for ever",
        sharing.the_table_of_workers_is_the_programs,
        lambda f: stack(f, "WorkerTable").pop("TimeToLiveSpecification"),
    ),
    Mutation("a table with another key", sharing.the_table_of_workers_is_the_programs, rename_key),
    Mutation(
        "a table of workers without the sort key",
        sharing.the_table_of_workers_is_the_programs,
        lambda f: stack(f, "WorkerTable")["KeySchema"].pop(),
    ),
    Mutation(
        "a table whose writes are throttled",
        sharing.the_table_of_workers_is_the_programs,
        lambda f: stack(f, "WorkerTable").update(BillingMode="PROVISIONED"),
    ),
    Mutation(
        "a table that each way back to one task leaves behind",
        sharing.the_table_of_workers_is_the_programs,
        lambda f: f.template["Resources"]["WorkerTable"].update(DeletionPolicy="RetainExceptOnCreate"),
    ),
]
PERMISSIONS = [
    Mutation(
        "a leader that cannot remove a dead worker",
        sharing.workers_may_share,
        lambda f: conditional(f, "ShareCameras")["Fn::If"][1]["Action"].remove("dynamodb:DeleteItem"),
    ),
    Mutation(
        "a leader that cannot remove a dead worker, in the guide",
        sharing.workers_may_share,
        lambda f: sharing_statement(f, "ShareCameras")["Action"].remove("dynamodb:DeleteItem"),
    ),
    Mutation(
        "workers that cannot read the cameras that they take over",
        sharing.workers_may_share,
        lambda f: stack(f, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"].remove(
            conditional(f, "TakeCamerasOver")
        ),
    ),
    Mutation(
        "every action on the workers",
        sharing.workers_may_share,
        lambda f: conditional(f, "ShareCameras")["Fn::If"][1].update(Action="dynamodb:*"),
    ),
    Mutation(
        "every table",
        sharing.workers_may_share,
        lambda f: conditional(f, "ShareCameras")["Fn::If"][1].update(Resource="*"),
    ),
    Mutation(
        "every table of a prefix, in the guide",
        sharing.workers_may_share,
        lambda f: sharing_statement(f, "ShareCameras").update(Resource="arn:aws:dynamodb:r:1:table/x${T}-workers*"),
    ),
    Mutation(
        "sharing's permissions for one task",
        sharing.workers_may_share,
        lambda f: conditional(f, "ShareCameras")["Fn::If"].__setitem__(0, "HasImage"),
    ),
]
SCALING = [
    Mutation(
        "scaling without several tasks",
        sharing.only_several_tasks_scale,
        lambda f: f.template["Rules"].pop("ScalingNeedsThreeWorkers"),
    ),
    Mutation(
        "scaling of two, of which one cannot carry the other's cameras",
        sharing.only_several_tasks_scale,
        lambda f: f.template["Rules"]["ScalingNeedsThreeWorkers"]["Assertions"][0].update(
            Assert={"Fn::Not": [{"Fn::Equals": [{"Ref": "Workers"}, 1]}]}
        ),
    ),
    Mutation(
        "scaling without MaxWorkers",
        sharing.only_several_tasks_scale,
        lambda f: f.template["Resources"]["ScalableTarget"].update(Condition="Shares"),
    ),
    Mutation(
        "scaling in to one task",
        sharing.only_several_tasks_scale,
        lambda f: stack(f, "ScalableTarget").update(MinCapacity=1),
    ),
    Mutation(
        "a load at which no worker may die",
        sharing.only_several_tasks_scale,
        lambda f: policy(f).update(TargetValue=85),
    ),
    Mutation("scaling in at once", sharing.only_several_tasks_scale, lambda f: policy(f).update(ScaleInCooldown=60)),
    Mutation(
        "a change that sets the number of tasks back",
        sharing.only_several_tasks_scale,
        lambda f: stack(f, "Service").update(DesiredCount={"Fn::If": ["Shares", {"Ref": "Workers"}, 1]}),
    ),
    Mutation(
        "the load of any stack",
        sharing.the_load_is_the_programs,
        lambda f: policy(f)["CustomizedMetricSpecification"]["Dimensions"][0].update(Value="kvs-infer"),
    ),
    Mutation(
        "scaling by a metric that does not fall with more tasks",
        sharing.the_load_is_the_programs,
        lambda f: policy(f)["CustomizedMetricSpecification"].update(MetricName="MaxLagSeconds"),
    ),
    Mutation(
        "another target in the guide",
        sharing.the_load_is_the_programs,
        lambda f: f.ecs["scaling-policy"].update(TargetValue=80),
    ),
]
BY_HAND = [
    Mutation(
        name,
        sharing.the_long_way_shares_as_the_stack_does,
        replace_in_guide(part, instead),
    )
    for name, part, instead in (
        ("a table of workers by another key, in the guide", "AttributeName=pool,KeyType", "AttributeName=id,KeyType"),
        ("several tasks on one host, in the guide", "--placement-constraints type=distinctInstance ", ""),
        ("more tasks than hosts, in the guide", "--max-size 6", "--max-size 2"),
        ("a deployment that stops all workers, in the guide", "minimumHealthyPercent=66", "minimumHealthyPercent=0"),
        ("scaling to one task, in the guide", "--min-capacity 3", "--min-capacity 1"),
    )
]
HOSTS = [
    Mutation(
        "more workers than the group has room for",
        sharing.hosts_grow_with_the_workers,
        lambda f: stack(f, "Hosts").update(MaxSize={"Ref": "MaxHosts"}),
    ),
    Mutation(
        "MaxWorkers above the room of the group",
        sharing.hosts_grow_with_the_workers,
        lambda f: stack(f, "Hosts").update(
            MaxSize={"Fn::If": ["HostsAsWorkers", {"Ref": "Workers"}, {"Ref": "MaxHosts"}]}
        ),
    ),
    Mutation(
        "MaxWorkers that MaxHosts cannot reach",
        sharing.hosts_grow_with_the_workers,
        lambda f: f.template["Parameters"]["MaxHosts"].update(MaxValue=10),
    ),
    Mutation(
        "two tasks with one cache",
        sharing.hosts_grow_with_the_workers,
        lambda f: stack(f, "Service").pop("PlacementConstraints"),
    ),
    Mutation(
        "hosts one by one",
        sharing.hosts_grow_with_the_workers,
        lambda f: stack(f, "CapacityProvider")["AutoScalingGroupProvider"]["ManagedScaling"].update(
            MaximumScalingStepSize=1
        ),
    ),
    Mutation(
        "a deployment that stops all workers at once",
        sharing.a_deployment_leaves_workers,
        lambda f: set_percent(f, 0),
    ),
    Mutation(
        "a deployment of two that cannot begin", sharing.a_deployment_leaves_workers, lambda f: set_percent(f, 66)
    ),
    Mutation(
        "a deployment that stops half of many",
        sharing.a_deployment_leaves_workers,
        lambda f: set_percent(f, {"Fn::If": ["Shares", 50, 0]}),
    ),
    Mutation(
        "a deployment that needs as many GPUs again",
        sharing.a_deployment_leaves_workers,
        lambda f: set_percent(f, stack(f, "Service")["DeploymentConfiguration"]["MinimumHealthyPercent"], 200),
    ),
]
MUTATIONS = ONE_TASK + TABLE + PERMISSIONS + SCALING + BY_HAND + HOSTS
