"""Rules of several tasks that share the cameras, and of the one task that does not."""

import math
from typing import Any

from checks.deployment import iam_actions
from checks.deployment.files import Files, strings
from checks.deployment.planned_stack import PlannedStack
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import lowered, referred, text_of
from checks.repository import bash_blocks
from checks.tables import expect

TABLE = "WorkerTable"
# The parameters with which the rules plan the stack. A case that scales runs each number of tasks up to its maximum.
ALONE: dict[str, int] = {}
SHARING = {
    "Workers=2": {"Workers": 2},
    "Workers=3": {"Workers": 3},
    "Workers=34": {"Workers": 34},
    "Workers=3 MaxWorkers=12": {"Workers": 3, "MaxWorkers": 12},
}
SCALING = ("AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy")
# Actions of the sources of sharing on the rows of workers, and of `check --live` on their table.
ON_WORKERS = {
    f"dynamodb:{name}"
    for name in ("BatchGetItem", "DeleteItem", "DescribeTable", "GetItem", "PutItem", "Query", "UpdateItem")
}
# What a worker does with the positions besides what one task does.
ON_POSITIONS = {"dynamodb:BatchGetItem", "dynamodb:GetItem"}
# What one task does with no table. It queries the records, by a statement of its own (rules/permissions.py).
OF_SHARING = ON_POSITIONS | {"dynamodb:DeleteItem"}


def plans(files: Files) -> dict[str, PlannedStack]:
    """Returns the stacks of several tasks, each by its parameters."""
    return {name: PlannedStack(files, **given) for name, given in SHARING.items()}


def counts(stack: PlannedStack) -> range:
    """Returns the numbers of tasks that a stack can have."""
    least, most = int(stack.given["Workers"]), int(stack.given["MaxWorkers"])
    return range(least, max(least, most) + 1)


def variables(stack: PlannedStack) -> dict[str, Any]:
    """Returns the environment of the stack's task."""
    container = stack.properties("TaskDefinition")["ContainerDefinitions"][0]
    return {item["Name"]: item["Value"] for item in container["Environment"]}


# --- one task -------------------------------------------------------------------------------------------------------


@rule
def one_task_unless_they_share(files: Files) -> list[str]:
    """One task by default, and nothing that scales it: two that share nothing would read every camera twice."""
    count = lowered(files.ecs["ecs-service"]).get("desiredCount")
    found = expect(count == 1, f"ecs-service.json: desiredCount is {count}, not 1")
    stack = PlannedStack(files, **ALONE)
    count = stack.properties("Service").get("DesiredCount")
    found += expect(count == 1, f"the stack has {count} tasks by default, not 1")
    more = set().union(*(stack.names(kind) for kind in SCALING)) | ({TABLE} if stack.has(TABLE) else set())
    found += expect(not more, f"the stack of one task makes {sorted(more)}")
    return found + expect(
        "WORKER_TABLE" not in variables(stack) and "PlacementConstraints" not in stack.properties("Service"),
        "the stack of one task is not as it was before several could share",
    )


# --- several --------------------------------------------------------------------------------------------------------


@rule
def several_tasks_share_a_table(files: Files) -> list[str]:
    """Several tasks have the table, its name, and the configuration that shares."""
    found = []
    for name, stack in plans(files).items():
        given, service = variables(stack), stack.properties("Service")
        count = service.get("DesiredCount")
        scales = stack.has("ScalableTarget")
        found += expect(str(count) == stack.given["Workers"] or scales, f"{name}: {count} tasks")
        found += expect(stack.has(TABLE), f"{name}: several tasks without {TABLE}")
        found += expect(referred(given.get("WORKER_TABLE")) == TABLE, f"{name}: the task does not know {TABLE}")
        found += expect(
            text_of(given["CONFIG_FILE"]).endswith("${ConfigKey}.shared"),
            f"{name}: the tasks read the configuration of one that does not share",
        )
    alone = text_of(variables(PlannedStack(files, **ALONE))["CONFIG_FILE"])
    found += expect(alone.endswith("${ConfigKey}"), f"the one task reads {alone}")
    return found + expect(
        'key+=".shared"' in files.deploy, "deploy uploads the configuration of workers under another key"
    )


@rule
def the_table_of_workers_is_the_programs(files: Files) -> list[str]:
    """Keys and time to live as the program writes them, on demand; it holds nothing that must outlive the sharing."""
    table, resource = files.properties(TABLE), files.template["Resources"][TABLE]
    keys = [(item["AttributeName"], item["KeyType"]) for item in table["KeySchema"]]
    types = {item["AttributeName"]: item["AttributeType"] for item in table["AttributeDefinitions"]}
    found = expect(keys == [("pool", "HASH"), ("member", "RANGE")], f"{TABLE}: keys {keys}")
    found += expect(types == {"pool": "S", "member": "S"}, f"{TABLE}: types {types}")
    found += expect(
        table.get("TimeToLiveSpecification") == {"AttributeName": "ttl", "Enabled": True},
        f"{TABLE}: no time to live, so that rows of workers that died stay for ever",
    )
    found += expect(table.get("BillingMode") == "PAY_PER_REQUEST", f"{TABLE}: writes can be throttled")
    kept = {key: resource.get(key) for key in ("DeletionPolicy", "UpdateReplacePolicy")}
    return found + expect(set(kept.values()) == {"Delete"}, f"{TABLE} outlives the sharing: {kept}")


# --- permissions ----------------------------------------------------------------------------------------------------


def sharing_statements(files: Files) -> dict[str, list[dict[str, Any]]]:
    """Returns the statements that allow sharing, of the document's files and of the stack."""
    alone, shared = (
        PlannedStack(files, **given).properties("TaskRole")["Policies"][0]["PolicyDocument"]["Statement"]
        for given in (ALONE, {"Workers": 3})
    )
    more = [item for item in shared if item not in alone]
    return {"iam-sharing.json": files.ecs["iam-sharing"]["Statement"], "the stack's TaskRole": more}


def allowed_on(statements: list[dict[str, Any]], table: str) -> set[str]:
    """Returns the actions that the statements allow on a table, by a part of its name."""
    return {
        action
        for item in statements
        if any(table in part for part in strings(item["Resource"]))
        for action in strings(item["Action"])
    }


@rule
def workers_may_share(files: Files) -> list[str]:
    """The actions of sharing, on these two tables alone, and only where cameras are shared."""
    found = []
    for name, listed in sharing_statements(files).items():
        tables = ("WorkerTable", "PositionTable") if "stack" in name else ("}-workers", "}-positions")
        for table, wanted in zip(tables, (ON_WORKERS, ON_POSITIONS), strict=True):
            has = allowed_on(listed, table)
            found += expect(
                has == wanted, f"{name}: on {table} lacks {sorted(wanted - has)}, has more {sorted(has - wanted)}"
            )
        parts = [part for item in listed for key in ("Action", "Resource") for part in strings(item[key])]
        found += expect(not any("*" in part for part in parts), f"{name}: sharing allows more than it needs, by a *")
    alone = PlannedStack(files, **ALONE).properties("TaskRole")["Policies"][0]["PolicyDocument"]
    more = iam_actions.allowed(alone) & OF_SHARING
    return found + expect(not more, f"the one task is allowed {sorted(more)}")


# --- scaling --------------------------------------------------------------------------------------------------------


@rule
def only_several_tasks_scale(files: Files) -> list[str]:
    """From three workers on: at the target of two thirds, two workers carry the cameras of the third."""
    found = []
    for workers in (1, 2):
        refused = PlannedStack(files, Workers=workers, MaxWorkers=6).refused()
        found += expect(bool(refused), f"Workers={workers} with MaxWorkers is not refused")
    found += expect(not PlannedStack(files, Workers=3, MaxWorkers=6).refused(), "Workers=3 MaxWorkers=6 is refused")
    unscaled = [
        kind for name, stack in plans(files).items() if "Max" not in name for kind in SCALING if stack.names(kind)
    ]
    found += expect(not unscaled, f"without MaxWorkers the stack makes {unscaled}")
    stack = PlannedStack(files, Workers=3, MaxWorkers=6)
    target = stack.properties("ScalableTarget")
    span = (target.get("MinCapacity"), target.get("MaxCapacity"))
    found += expect(span == ("3", "6"), f"the tasks scale between {span}")
    found += expect(
        "DesiredCount" not in stack.properties("Service"),
        "each change of the stack sets the number of tasks back to Workers, whatever the load is",
    )
    policy = stack.properties("LoadPolicy").get("TargetTrackingScalingPolicyConfiguration", {})
    least = int(stack.given["Workers"])
    found += expect(
        policy.get("TargetValue", 100) <= 100 * (least - 1) / least,
        f"at a load of {policy.get('TargetValue')} %, {least - 1} of {least} workers cannot carry all cameras",
    )
    cooldowns = (policy.get("ScaleOutCooldown"), policy.get("ScaleInCooldown"))
    return found + expect(cooldowns == (120, 900), f"cooldowns {cooldowns}")


@rule
def the_load_is_the_programs(files: Files) -> list[str]:
    """The policy follows LoadPercent of this stack; the document's file says the same of its own service."""
    own = files.properties("LoadPolicy")["TargetTrackingScalingPolicyConfiguration"]
    metric = own["CustomizedMetricSpecification"]
    named = (metric["Namespace"], metric["MetricName"], metric["Statistic"])
    found = expect(named == ("KVS/Inference", "LoadPercent", "Average"), f"the tasks follow {named}")
    dimensions = [{"Name": "Service", "Value": {"Ref": "AWS::StackName"}}]
    found += expect(metric["Dimensions"] == dimensions, f"the tasks follow the load of {metric['Dimensions']}")
    by_hand = {**metric, "Dimensions": [{"Name": "Service", "Value": "kvs-infer"}]}
    return found + expect(
        files.ecs["scaling-policy"] == {**own, "CustomizedMetricSpecification": by_hand},
        "scaling-policy.json: another policy than the stack's",
    )


# --- by hand --------------------------------------------------------------------------------------------------------


@rule
def the_long_way_shares_as_the_stack_does(files: Files) -> list[str]:
    """The document's commands give several tasks the table, the hosts and the deployments that the stack gives them."""
    blocks = [text for heading, text in bash_blocks(files.guide) if heading == "Several workers by hand"]
    commands = " ".join("\n".join(blocks).replace("\\\n", " ").split())
    stack = PlannedStack(files, Workers=3, MaxWorkers=6)
    table, percent = stack.properties(TABLE), stack.properties("Service")["DeploymentConfiguration"]
    attributes = [f"AttributeName={item['AttributeName']}" for item in table["KeySchema"]]
    wanted = [
        " ".join(
            f"{name},KeyType={item['KeyType']}" for name, item in zip(attributes, table["KeySchema"], strict=True)
        ),
        "--time-to-live-specification Enabled=true,AttributeName=ttl",
        f"--max-size {stack.properties('Hosts')['MaxSize']} ",
        f"--desired-count {stack.given['Workers']} ",
        "--placement-constraints type=distinctInstance",
        f"minimumHealthyPercent={percent['MinimumHealthyPercent']},maximumPercent={percent['MaximumPercent']},",
        "--min-capacity {MinCapacity} --max-capacity {MaxCapacity} ".format(**stack.properties("ScalableTarget")),
    ]
    return [f"docs/deploy.md: no {part!r} under Several workers by hand" for part in wanted if part not in commands]


# --- hosts and deployments ------------------------------------------------------------------------------------------


@rule
def hosts_grow_with_the_workers(files: Files) -> list[str]:
    """The group has room for a host per task, and no host gets two, which would share a cache."""
    found = []
    for name, stack in plans(files).items():
        most, room = counts(stack)[-1], int(stack.properties("Hosts")["MaxSize"])
        found += expect(room >= most, f"{name}: room for {room} hosts, and up to {most} tasks")
        placed = stack.properties("Service").get("PlacementConstraints")
        found += expect(placed == [{"Type": "distinctInstance"}], f"{name}: two tasks can share a host and its cache")
        step = stack.properties("CapacityProvider")["AutoScalingGroupProvider"]["ManagedScaling"]
        found += expect(step["MaximumScalingStepSize"] > 1, f"{name}: hosts come one after the other")
    parameters = files.template["Parameters"]
    limits = {name: parameters[name].get("MaxValue", math.inf) for name in ("Workers", "MaxWorkers", "MaxHosts")}
    found += expect(
        limits["MaxHosts"] > max(limits["Workers"], limits["MaxWorkers"]),
        f"MaxHosts does not reach the number of tasks and one more: {limits}",
    )
    spare = PlannedStack(files, Workers=3, MaxHosts=4).properties("Hosts")["MaxSize"]
    return found + expect(spare == "4", f"MaxHosts=4 gives room for {spare} hosts")


@rule
def a_deployment_leaves_workers(files: Files) -> list[str]:
    """At least one task is replaced at a time, so that no spare GPU is needed, and at most a third.

    ECS rounds the minimum up: 66 % of two are two, and of three two.
    """
    found = []
    for name, stack in plans(files).items():
        percent = stack.properties("Service")["DeploymentConfiguration"]
        least, most = percent["MinimumHealthyPercent"], percent["MaximumPercent"]
        found += expect(most == 100, f"{name}: {most} % needs more GPUs for each deployment")
        for count in counts(stack):
            replaced = count - math.ceil(count * least / 100)
            found += expect(replaced > 0, f"{name}: no task of {count} can be replaced at {least} %")
            limit = max(1, math.ceil(count / 3))
            found += expect(replaced <= limit, f"{name}: a deployment stops {replaced} of {count} tasks at once")
    return found
