"""Assertions about hosts, service, alarms and dashboard."""

import base64
import json

from checks.deployment.assertions.created_stack import REGION, CreatedStack, assertion_about
from checks.deployment.rules.trees import text_of
from checks.tables import differing


@assertion_about("AWS::ECS::Cluster")
def cluster(made: CreatedStack, name: str) -> list[str]:
    """Enhanced Container Insights."""
    has = made.aws.client("ecs").describe_clusters(clusters=[made.ids[name]], include=["SETTINGS"])["clusters"][0]
    return differing(settings=(has["settings"], [{"name": "containerInsights", "value": "enhanced"}]))


@assertion_about("AWS::EC2::LaunchTemplate")
def launch_template(made: CreatedStack, name: str) -> list[str]:
    """AMI, role, group, metadata, disk; user data that joins this cluster."""
    versions = made.aws.client("ec2").describe_launch_template_versions(LaunchTemplateId=made.ids[name])
    has = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    disk, script = has["BlockDeviceMappings"][0]["Ebs"], base64.b64decode(has["UserData"]).decode()
    return differing(
        ami=(has["ImageId"].startswith("ami-"), True),
        type=(has["InstanceType"], made.parameter("InstanceTypes").split(",")[0]),
        groups=(has["SecurityGroupIds"], [made.ids["HostSecurityGroup"]]),
        profile=(has["IamInstanceProfile"]["Arn"].rsplit("/")[-1], made.ids["InstanceProfile"]),
        metadata=([has["MetadataOptions"][key] for key in ("HttpTokens", "HttpPutResponseHopLimit")], ["required", 1]),
        disk=((disk["VolumeType"], disk["VolumeSize"], disk["Encrypted"]), ("gp3", 100, True)),
        joins=(f"ECS_CLUSTER={made.ids['Cluster']}\n" in script and "${" not in script, True),
    )


@assertion_about("AWS::AutoScaling::AutoScalingGroup")
def hosts(made: CreatedStack, name: str) -> list[str]:
    """A host per task, or as many as asked for; in both subnets, protected, bought as asked; the types in order."""
    has = made.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[made.ids[name]])[
        "AutoScalingGroups"
    ][0]
    policy = has["MixedInstancesPolicy"]
    types = [item["InstanceType"] for item in policy["LaunchTemplate"]["Overrides"]]
    spread = policy["InstancesDistribution"]
    return differing(
        size=(
            (has["MinSize"], has["MaxSize"]),
            (0, max(int(made.parameter(name)) for name in ("MaxHosts", "Workers"))),
        ),
        protected=(has["NewInstancesProtectedFromScaleIn"], True),
        rebalanced=(has["CapacityRebalance"], True),
        subnets=(sorted(has["VPCZoneIdentifier"].split(",")), sorted(made.subnets())),
        types=(types, made.parameter("InstanceTypes").split(",")),
        bought=(
            [int(spread[key]) for key in ("OnDemandBaseCapacity", "OnDemandPercentageAboveBaseCapacity")],
            [0, 100 if made.parameter("Purchase") == "on-demand" else 0],
        ),
        strategy=(spread["SpotAllocationStrategy"], "price-capacity-optimized"),
        template=(
            policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"],
            made.ids["LaunchTemplate"],
        ),
    )


@assertion_about("AWS::ECS::TaskDefinition")
def task_definition(made: CreatedStack, name: str) -> list[str]:
    """The container: image, limits, GPU, port, rights, log group; the variables with the true names."""
    has = made.aws.client("ecs").describe_task_definition(taskDefinition=made.ids[name])["taskDefinition"]
    container, exec_on = has["containerDefinitions"][0], made.parameter("EnableExec") == "true"
    # moto keeps `AWS::NoValue` in a list, as nothing.
    given = {item["name"]: item["value"] for item in container["environment"] if item}
    token = made.parameter("HttpTokenSecretArn")
    return differing(
        image=(container["image"], made.parameter("ImageUri")),
        memory=(container["memory"], int(made.parameter("TaskMemoryMiB"))),
        gpu=(container["resourceRequirements"], [{"type": "GPU", "value": "1"}]),
        port=(container["portMappings"][0]["containerPort"], 8080),
        health=(container["healthCheck"]["command"], ["CMD", "kvs-infer", "healthcheck", "--ready"]),
        stop=(container["stopTimeout"], 30),
        read_only=(container["readonlyRootFilesystem"], not exec_on),
        capabilities=(container["linuxParameters"].get("capabilities"), None if exec_on else {"drop": ["ALL"]}),
        user=(container["user"], "10001"),
        logs=(container["logConfiguration"]["options"]["awslogs-group"], made.ids["Logs"]),
        roles=(
            [has.get(key, "").rsplit("/")[-1] for key in ("taskRoleArn", "executionRoleArn")],
            [made.ids["TaskRole"], made.ids["ExecutionRole"]],
        ),
        secrets=(container.get("secrets") or [], [{"name": "HTTP_TOKEN", "valueFrom": token}] if token else []),
        variables=(given, variables(made)),
    )


def variables(made: CreatedStack) -> dict[str, str]:
    """The environment that the task needs."""
    key, shared = made.parameter("KmsKeyArn"), made.shares()
    of_workers = {"WORKER_TABLE": made.ids["WorkerTable"]} if shared else {}
    return of_workers | {
        "AWS_REGION": REGION,
        "HTTP_PORT": "8080",
        "METRICS_SERVICE": made.stack,
        "KDS_STREAM": made.ids["EventStream"],
        "CONFIG_FILE": f"s3://{made.ids['Bucket']}/{made.parameter('ConfigKey')}{'.shared' if shared else ''}",
        "S3_BUCKET": made.ids["Bucket"],
        "S3_PREFIX": made.parameter("S3Prefix"),
        "S3_SSE": "aws:kms" if key else "AES256",
        "S3_KMS_KEY": key or "alias/aws/s3",
        "EVENT_TABLE": made.ids["EventTable"],
        "POSITION_TABLE": made.ids["PositionTable"],
    }


@assertion_about("AWS::ECS::Service")
def service(made: CreatedStack, name: str) -> list[str]:
    """Its tasks, in both subnets, without a public address."""
    # moto keeps no percents and no strategy: rules over the files cover them.
    has = made.aws.client("ecs").describe_services(cluster=made.ids["Cluster"], services=[made.ids[name]])["services"][
        0
    ]
    at = has["networkConfiguration"].get("awsvpcConfiguration", {})
    return differing(
        count=(has["desiredCount"], int(made.parameter("Workers"))),
        task=(has["taskDefinition"], made.ids["TaskDefinition"]),
        subnets=(sorted(at.get("subnets", [])), sorted(made.subnets())),
        groups=(at.get("securityGroups"), [made.ids["TaskSecurityGroup"]]),
        public=(at.get("assignPublicIp"), "DISABLED"),
    )


@assertion_about("AWS::SNS::Topic")
def topic(made: CreatedStack, name: str) -> list[str]:
    """It says whose alarms these are."""
    attributes = made.aws.client("sns").get_topic_attributes(TopicArn=made.ids[name])["Attributes"]
    return differing(shown=(attributes["DisplayName"], f"{made.stack} alarms"))


@assertion_about("AWS::Events::Rule")
def event_rule(made: CreatedStack, name: str) -> list[str]:
    """Its pattern with the true names, and the topic as its target."""
    events = made.aws.client("events")
    listed = {item["Name"]: item for page in events.get_paginator("list_rules").paginate() for item in page["Rules"]}
    own = listed[made.ids[name].rsplit("/")[-1]]
    targets = events.list_targets_by_rule(Rule=own["Name"])["Targets"]
    of = made.ids["Cluster"] if name == "TaskEndedRule" else made.ids["Service"]
    return differing(
        pattern=(of.rsplit("/")[-1] in own["EventPattern"], True),
        targets=([item["Arn"] for item in targets], [made.ids["AlarmTopic"]]),
    )


@assertion_about("AWS::CloudWatch::Dashboard")
def dashboard(made: CreatedStack, name: str) -> list[str]:
    """JSON with all its names put in, whose widgets do not overlap."""
    text = made.aws.client("cloudwatch").get_dashboard(DashboardName=made.ids[name])["DashboardBody"]
    widgets = json.loads(text)["widgets"]
    places = [(item["x"], item["y"]) for item in widgets]
    wanted = len(json.loads(text_of(made.files.properties(name)["DashboardBody"]))["widgets"])
    return differing(
        names=("${" in text, False), widgets=(len(widgets), wanted), places=(len(set(places)), len(places))
    )
