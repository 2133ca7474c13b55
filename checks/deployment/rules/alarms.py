"""Rules of alarms and the dashboard, and of what belongs together."""

import base64
import json
import math
import re
from typing import Any

from checks.deployment.files import Files, packed, parsed
from checks.deployment.planned_stack import PlannedStack
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import referred, text_of
from checks.repository import read
from checks.tables import expect

NAMESPACE = "KVS/Inference"
# Limits of a template, in a request and in S3. Source: CloudFormation quotas, 2026-11.
MAX_SENT_BYTES, MAX_UPLOADED_BYTES = 51_200, 1_000_000
# Metrics that the leader of several workers writes.
OF_WORKERS = {"LoadPercent", "Workers", "CamerasUnassigned"}
# Of a camera, and of the write of one with the state after it.
EVENTS_PER_DAY, UNITS_PER_EVENT = 200, 3
# Placeholders that the guide's `sed` lines put in, by file.
PLACEHOLDERS = {
    "iam-task-role": {
        "AWS_REGION",
        "AWS_ACCOUNT_ID",
        "KVS_STREAM_PREFIX",
        "KDS_STREAM_NAME",
        "S3_BUCKET_NAME",
        "S3_PREFIX",
        "DYNAMODB_TABLE_NAME",
    },
    "iam-execution-role": {"AWS_REGION", "AWS_ACCOUNT_ID"},
    "iam-sharing": {"AWS_REGION", "AWS_ACCOUNT_ID", "DYNAMODB_TABLE_NAME"},
    "scaling-policy": set(),
    "ecs-task-def": {"AWS_REGION", "AWS_ACCOUNT_ID", "IMAGE_DIGEST"},
    "ecs-service": {"ECS_CLUSTER_NAME", "PRIVATE_SUBNET_1", "PRIVATE_SUBNET_2", "SECURITY_GROUP_ID"},
}

# --- alarms and dashboard -------------------------------------------------------------------------------------------


def metrics(files: Files) -> dict[tuple[str, ...], set[str]]:
    """Returns the metrics of CloudWatch by dimensions: the table of docs/operations.md, which tests/docs checks."""
    found: dict[tuple[str, ...], set[str]] = {}
    for dimensions, name in re.findall(r"^\| (Service[\w, ]*) \| `(\w+)` \|", files.operations, re.MULTILINE):
        found.setdefault(tuple(dimensions.split(", ")), set()).add(name)
    return found


def alarms(files: Files) -> dict[str, dict[str, Any]]:
    """The alarms of the stack, by the name that a person sees."""
    found = files.resources("AWS::CloudWatch::Alarm")
    return {name.removesuffix("Alarm"): item["Properties"] for name, item in found.items()}


@rule
def alarms_notify(files: Files) -> list[str]:
    """Each has the topic as its action, also when it ends."""
    found = []
    for name, alarm in alarms(files).items():
        for key in ("AlarmActions", "OKActions"):
            found += expect(
                [referred(item) for item in alarm.get(key, [])] == ["AlarmTopic"], f"{name}: {key} is not the topic"
            )
    return found


@rule
def silence_is_an_alarm(files: Files) -> list[str]:
    """No figures at all means that no task runs."""
    return [
        f"{name}: missing data does not count"
        for name in ("NoRunningTask", "CameraDown", "WorkersLow")
        if alarms(files).get(name, {}).get("TreatMissingData") != "breaching"
    ]


@rule
def alarms_are_all_there(files: Files) -> list[str]:
    """Each possible failure has an alarm, on a metric that exists."""
    wanted = {
        "RunningTaskCount",
        "CPUUtilization",
        "MemoryUtilization",
        "GpuUtilization",
        "MaxLagSeconds",
        "OutboxBytes",
        "OutboxOldestSeconds",
        "DeliveryFailures",
        "CamerasDown",
        "ModelsOnCpu",
        "CamerasUnassigned",
        "Workers",
    }
    has = {alarm["MetricName"] for alarm in alarms(files).values()}
    found = expect(wanted == has, f"alarms lack {sorted(wanted - has)}, have more {sorted(has - wanted)}")
    for name, alarm in alarms(files).items():
        if alarm["Namespace"] == NAMESPACE:
            dimensions = tuple(item["Name"] for item in alarm["Dimensions"])
            found += expect(
                alarm["MetricName"] in metrics(files).get(dimensions, ()),
                f"{name}: no metric {alarm['MetricName']} by {dimensions}",
            )
    return found


@rule
def failures_are_reported_at_once(files: Files) -> list[str]:
    """ECS's events reach the topic: a task that ended by itself or could not start, a failed deployment, no room."""
    found, patterns = [], {}
    for name, item in files.resources("AWS::Events::Rule").items():
        patterns[name] = item["Properties"]["EventPattern"]
        targets = [referred(target["Arn"]) for target in item["Properties"].get("Targets", [])]
        found += expect(targets == ["AlarmTopic"], f"{name}: goes to {targets}")
    for what in (
        "SERVICE_DEPLOYMENT_FAILED",
        "SERVICE_TASK_PLACEMENT_FAILURE",
        "{'exitCode': [{'anything-but': [0]}]}",
        "TaskFailedToStart",
    ):
        found += expect(what in str(list(patterns.values())), f"no rule for {what}")
    own = all(
        "'Service'" in str(pattern.get("resources")) or "'Cluster'" in str(pattern["detail"].get("clusterArn"))
        for pattern in patterns.values()
    )
    found += expect(own, "a rule sees the tasks of other clusters")
    policy = files.properties("AlarmTopicPolicy").get("PolicyDocument", {}).get("Statement", [])
    may = {item["Principal"]["Service"] for item in policy if item["Action"] == "sns:Publish"}
    return found + expect(
        may == {"cloudwatch.amazonaws.com", "events.amazonaws.com"}, f"the topic takes from {sorted(may)} only"
    )


@rule
def alarms_are_this_stacks(files: Files) -> list[str]:
    """The dimension `Service` is the stack's name, which the task has as a variable, so that two stacks differ."""
    name = {"Ref": "AWS::StackName"}
    mixed = [
        alarm
        for alarm, its in alarms(files).items()
        if its["Namespace"] == NAMESPACE and its["Dimensions"][0]["Value"] != name
    ]
    found = expect(not mixed, f"alarms on another stack's figures: {mixed}")
    container = PlannedStack(files).properties("TaskDefinition")["ContainerDefinitions"][0]
    given = {item["Name"]: item["Value"] for item in container["Environment"]}
    found += expect(given.get("METRICS_SERVICE") == name, "the task does not get the stack's name")
    return found + expect(
        "service: ${METRICS_SERVICE}" in files.cameras, "cameras.example.yaml: metrics.service is not the stack's name"
    )


@rule
def alarms_are_explained(files: Files) -> list[str]:
    """docs/operations.md has a heading for each, and no other."""
    headings = set(re.findall(r"^### Alarm (\w+)$", files.operations, re.MULTILINE))
    names = set(alarms(files))
    return expect(
        headings == names,
        f"docs/operations.md: headings lack {sorted(names - headings)}, have more {sorted(headings - names)}",
    )


@rule
def the_outbox_alarm_comes_in_time(files: Files) -> list[str]:
    """Before the share of KDS, one of ten parts of the default 2 GiB, is full."""
    limit = alarms(files)["OutboxFilling"]["Threshold"]
    return expect(limit < 2 * 1024**3 // 10, f"OutboxFilling: {limit} bytes is more than the share of a data stream")


@rule
def the_dashboard_shows_metrics_that_exist(files: Files) -> list[str]:
    """Each metric of our namespace is one that the program writes."""
    body = text_of(files.properties("Dashboard")["DashboardBody"])
    shown = [
        (tuple(metric[2::2]) if isinstance(metric[-1], str) else tuple(metric[2:-1:2]), metric[1])
        for widget in json.loads(body)["widgets"]
        for metric in written_out(widget["properties"]["metrics"])
        if metric[0] == NAMESPACE
    ]
    shown += [
        (tuple(found[0].split(",")), found[1])
        for found in re.findall(r"\{KVS/Inference,([\w,]+)\} MetricName=\\\"(\w+)", body)
    ]
    unknown = [(dimensions, name) for dimensions, name in shown if name not in metrics(files).get(dimensions, ())]
    found = expect(not unknown, f"the dashboard shows what is not written: {unknown}")
    lacking = metrics(files)[("Service",)] - {name for _, name in shown}
    return found + expect(not lacking, f"the dashboard does not show {sorted(lacking)}")


def written_out(metrics: list[list[Any]]) -> list[list[Any]]:
    """The metrics of a widget, with what stands for a "." in them: the same of the metric before."""
    found: list[list[Any]] = []
    for metric in metrics:
        before = found[-1] if found else []
        found.append([before[place] if part == "." else part for place, part in enumerate(metric)])
    return found


@rule
def a_refused_driver_is_explained(files: Files) -> list[str]:
    """The documents have the message of NVIDIA's hook about too old a driver, with the image's version."""
    asked = re.search(r"NVIDIA_REQUIRE_CUDA=(\S+)", files.dockerfile)
    text = f"requirement error: unsatisfied condition: {asked[1] if asked else ''}"
    return [
        f"{name} does not have {text!r}"
        for name, document in {"docs/deploy.md": files.guide, "docs/container.md": files.container_guide}.items()
        if text not in " ".join(document.split())
    ]


# --- costs ----------------------------------------------------------------------------------------------------------


@rule
def the_costs_are_counted(files: Files) -> list[str]:
    """docs/deploy.md counts the endpoints, metrics and alarms that the stack has, and its sums are right.

    Those that only several workers have are counted apart.
    """
    kinds = [item["Properties"]["VpcEndpointType"] for item in files.resources("AWS::EC2::VPCEndpoint").values()]
    own, per_camera = (metrics(files)[dimensions] for dimensions in (("Service",), ("Service", "Camera")))
    kind = "AWS::CloudWatch::Alarm"
    alone, shared = (len(PlannedStack(files, Workers=workers).names(kind)) for workers in (1, 3))
    counted = {
        rf"\| {kinds.count('Interface')} \(with Kinesis Video Streams\) x 2 zones": "endpoints",
        rf"\| \({len(own - OF_WORKERS)} \+ {len(per_camera)} x cameras\)": "metrics",
        rf"\| {alone} x 0\.10": "alarms",
        rf"{len(own & OF_WORKERS)} x 0\.30 \+ {shared - alone} x 0\.10": "metrics and alarms of several workers",
    }
    found = [
        f"docs/deploy.md: the number of {what} is another"
        for pattern, what in counted.items()
        if not re.search(pattern, files.guide)
    ]
    sums = re.findall(r"((?:[\d.]+(?: x [\d.]+)? \+ )+[\d.]+(?: x [\d.]+)?) = \$([\d,]+)", files.guide)
    for terms, printed in sums:
        total = sum(math.prod(float(factor) for factor in term.split(" x ")) for term in terms.split(" + "))
        found += expect(
            round(total) == int(printed.replace(",", "")), f"docs/deploy.md: {terms} is ${total:.2f}, not ${printed}"
        )
    return found + expect(len(sums) == 5, f"docs/deploy.md: {len(sums)} sums, not 5")


@rule
def the_requests_of_workers_are_counted(files: Files) -> list[str]:
    """docs/deploy.md has the units per second that heartbeats, positions and events of so many cameras need."""
    limits = read("crates/sharing/src/limits.rs")
    beat_s, position_s = (
        int(re.search(rf"pub const {name}: u64 = ([\d_]+);", limits)[1].replace("_", "")) / 1000  # type: ignore[index]
        for name in ("BEAT_MS", "POSITION_MS")
    )
    line = r"^([\d,]+) cameras, (\d+) workers: +([\d.]+) x 1\.6425 \+ ([\d.]+) x 0\.3285"
    rows = re.findall(line, files.guide, re.MULTILINE)
    found = expect(len(rows) == 3, f"docs/deploy.md: {len(rows)} lines of requests, not 3")
    for cameras, workers, writes, reads in rows:
        many, count = int(cameras.replace(",", "")), int(workers)
        events = many * EVENTS_PER_DAY / 86_400
        wanted = (
            round(count / beat_s + 1 + many / position_s + UNITS_PER_EVENT * events, 1),
            count * 1.5 + 3 * math.ceil(count * 0.4 / 4),
        )
        has = (float(writes), float(reads))
        found += expect(has == wanted, f"docs/deploy.md: {cameras} cameras need {wanted} units per second, not {has}")
    return found


# --- what belongs together ------------------------------------------------------------------------------------------


@rule
def placeholders_are_the_guides(files: Files) -> list[str]:
    """Exactly those that the guide's `sed` lines put in."""
    found = []
    for name, wanted in PLACEHOLDERS.items():
        has = set(re.findall(r"\$\{(\w+)\}", json.dumps(files.ecs[name])))
        found += expect(
            has == wanted, f"{name}.json: placeholders lack {sorted(wanted - has)}, have more {sorted(has - wanted)}"
        )
    return found


@rule
def the_example_configuration_is_served(files: Files) -> list[str]:
    """Each variable of cameras.example.yaml is set by the stack's task, and EMF is on, on which alarms rest."""
    container = PlannedStack(files, Workers=3).properties("TaskDefinition")["ContainerDefinitions"][0]
    given = {item["Name"] for item in container["Environment"]}
    asked = set(re.findall(r"\$\{([A-Z_0-9]+)\}", files.cameras))
    found = expect(asked <= given, f"cameras.example.yaml: no variable is set for {sorted(asked - given)}")
    return found + expect(
        "emf: true" in files.cameras, "cameras.example.yaml: without metrics.emf the alarms are blind"
    )


@rule
def the_example_parameters_exist(files: Files) -> list[str]:
    """Each parameter of parameters.example.env is one of the stack."""
    named = set(re.findall(r"^#?(\w+)=", files.parameters, re.MULTILINE))
    known = set(files.template["Parameters"])
    return expect(named <= known, f"parameters.example.env: the stack has no {sorted(named - known)}")


@rule
def the_template_can_be_sent(files: Files) -> list[str]:
    """The packed template fits into a request and says the same; the file fits into S3, where the console puts it."""
    text, sent = files.template_text, packed(files.template_text)
    size, whole = len(sent.encode()), len(text.encode())
    found = expect(size <= MAX_SENT_BYTES, f"kvs-infer.yaml is sent with {size} bytes, of at most {MAX_SENT_BYTES}")
    found += expect(whole <= MAX_UPLOADED_BYTES, f"kvs-infer.yaml has {whole} bytes, of at most {MAX_UPLOADED_BYTES}")
    found += expect(parsed(sent) == parsed(text), "deployment/cloudformation/pack changes more than blanks")
    for name, (script, sends) in {
        "deploy": (files.deploy, "file://$PACKED"),
        "release": (files.release, 'roll "$PACKED"'),
    }.items():
        found += expect(sends in script, f"{name} sends the template as it is")
    return found + expect(len(base64.b64encode(files.user_data.encode())) < 16_384, "user-data.sh is too long")
