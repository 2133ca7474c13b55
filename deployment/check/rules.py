"""What must hold of the files of deployment/. A rule takes the files and tells what is wrong, a line each."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import calls
from sources import Files, bash_blocks, constant_seconds, strings

Rule = Callable[[Files], list[str]]
RULES: dict[str, Rule] = {}

# A g4dn.xlarge has 16,384 MiB; its agent registers less. Source: the project's notes on ECS, 14,336 fits.
TASK_MEMORY_MIB = 14_336
# Metrics that the program writes to CloudWatch (namespace KVS/Inference), by dimension set.
METRICS = {
    ("Service",): {
        "CamerasDown", "MaxLagSeconds", "Events", "OutboxBytes", "OutboxOldestSeconds", "DeliveryFailures",
        "GpuUtilization", "GpuMemoryUsed",
    },
    ("Service", "Camera"): {"LagSeconds", "CameraUp", "Events"},
}
NAMESPACE = "KVS/Inference"
PORT = 8080
# Placeholders that the guide's `sed` lines put in, by file.
PLACEHOLDERS = {
    "iam-task-role": {
        "AWS_REGION", "AWS_ACCOUNT_ID", "KVS_STREAM_PREFIX", "KDS_STREAM_NAME", "S3_BUCKET_NAME", "S3_PREFIX", "DYNAMODB_TABLE_NAME",
    },
    "iam-execution-role": {"AWS_REGION", "AWS_ACCOUNT_ID"},
    "ecs-task-def": {"AWS_REGION", "AWS_ACCOUNT_ID"},
    "ecs-service": {"ECS_CLUSTER_NAME", "PRIVATE_SUBNET_1", "PRIVATE_SUBNET_2", "SECURITY_GROUP_ID"},
}
# Statements that must be for everything: these actions know no resource.
FOR_EVERYTHING = {"SignInToTheRegistry", "Exec"}


def rule(check: Rule) -> Rule:
    """Registers a rule by its function's name."""
    RULES[check.__name__] = check
    return check


def expect(holds: bool, complaint: str) -> list[str]:
    """The complaint, unless it holds."""
    return [] if holds else [complaint]


def one(properties: dict[str, Any], first: str) -> dict[str, Any]:
    """A section of the stack's service, or of the guide's, whose names begin with a small letter."""
    return properties.get(first) or properties.get(first[0].lower() + first[1:]) or {}


def services(files: Files) -> dict[str, dict[str, Any]]:
    """The guide's service and the stack's."""
    return {"ecs-service.json": files.ecs["ecs-service"], "the stack's Service": files.properties("Service")}


def containers(files: Files) -> dict[str, dict[str, Any]]:
    """The guide's container and the stack's."""
    return {"ecs-task-def.json": files.container(), "the stack's TaskDefinition": files.stack_container()}


def lowered(value: Any) -> Any:
    """A tree whose keys begin with a small letter, as the ECS API spells them."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: lowered(inner) for key, inner in value.items()}
    return [lowered(inner) for inner in value] if isinstance(value, list) else value


def referred(value: Any) -> str:
    """What a `!Ref` or `!GetAtt` names, or the text itself."""
    if isinstance(value, dict):
        named = value.get("Ref") or value.get("Fn::GetAtt", [""])
        return named if isinstance(named, str) else named[0]
    return str(value)


# --- the service ----------------------------------------------------------------------------------------------------


@rule
def capacity_provider_strategy(files: Files) -> list[str]:
    """A strategy and no launch type: they exclude each other, and only a strategy scales hosts."""
    found = []
    for name, service in services(files).items():
        service = lowered(service)
        found += expect("launchType" not in service, f"{name}: launchType beside a capacity provider strategy")
        found += expect(bool(service.get("capacityProviderStrategy")), f"{name}: no capacity provider strategy")
    return found


@rule
def one_task(files: Files) -> list[str]:
    """One task and nothing that scales it: two would read every camera twice."""
    found = []
    for name, service in services(files).items():
        count = lowered(service).get("desiredCount")
        found += expect(count == 1, f"{name}: desiredCount is {count}, not 1")
    scaling = [name for name, item in files.template["Resources"].items() if "ApplicationAutoScaling" in item["Type"]]
    return found + expect(not scaling, f"the stack scales its service: {scaling}")


@rule
def deployment_frees_the_gpu(files: Files) -> list[str]:
    """0 and 100 %: the old task must end before the new one has a GPU; zones cannot be balanced then."""
    found = []
    for name, service in services(files).items():
        service = lowered(service)
        percent = service.get("deploymentConfiguration", {})
        pair = (percent.get("minimumHealthyPercent"), percent.get("maximumPercent"))
        found += expect(pair == (0, 100), f"{name}: {pair[0]}/{pair[1]} % needs a second GPU for each deployment")
        found += expect(service.get("availabilityZoneRebalancing") == "DISABLED", f"{name}: zone rebalancing needs more than 100 %")
    return found


@rule
def failed_deployments_roll_back(files: Files) -> list[str]:
    """The circuit breaker is on, and rolls back."""
    found = []
    for name, service in services(files).items():
        breaker = lowered(service).get("deploymentConfiguration", {}).get("deploymentCircuitBreaker")
        found += expect(breaker == {"enable": True, "rollback": True}, f"{name}: no circuit breaker with rollback")
    return found


@rule
def tasks_are_private(files: Files) -> list[str]:
    """No public address."""
    found = []
    for name, service in services(files).items():
        public = lowered(service).get("networkConfiguration", {}).get("awsvpcConfiguration", {}).get("assignPublicIp")
        found += expect(public == "DISABLED", f"{name}: assignPublicIp is {public}")
    return found


# --- the task -------------------------------------------------------------------------------------------------------


@rule
def memory_fits_the_host(files: Files) -> list[str]:
    """The container's memory fits a g4dn.xlarge, and the task itself has no limits."""
    default = files.template["Parameters"]["TaskMemoryMiB"]["Default"]
    memory = {"ecs-task-def.json": files.container().get("memory", 0), "TaskMemoryMiB": default}
    found = [f"{name}: {mib} MiB never fits a g4dn.xlarge (at most {TASK_MEMORY_MIB})" for name, mib in memory.items() if not 0 < mib <= TASK_MEMORY_MIB]
    for name, task in {"ecs-task-def.json": files.ecs["ecs-task-def"], "the stack's": files.properties("TaskDefinition")}.items():
        found += expect("cpu" not in lowered(task), f"{name}: cpu of the task is a hard limit; use the container's")
        found += expect("memory" not in lowered(task), f"{name}: memory of the task, beside the container's")
    return found


@rule
def the_task_has_a_gpu(files: Files) -> list[str]:
    """One GPU, on EC2 (Fargate has none)."""
    found = []
    for name, container in containers(files).items():
        needs = lowered(container).get("resourceRequirements")
        found += expect(needs == [{"type": "GPU", "value": "1"}], f"{name}: no GPU is asked for")
    for task in (files.ecs["ecs-task-def"], files.properties("TaskDefinition")):
        found += expect(lowered(task).get("requiresCompatibilities") == ["EC2"], "the task must be for EC2")
        found += expect(lowered(task).get("networkMode") == "awsvpc", "the task must have networkMode awsvpc")
    return found


@rule
def health_check_is_the_programs(files: Files) -> list[str]:
    """`kvs-infer healthcheck`, with more time than it takes itself."""
    own = re.search(r"default_value_t = (\d+)[^\n]*\)\]\s*\n\s*pub timeout_seconds", files.rust["src/cli/healthcheck.rs"])
    found = expect(own is not None, "src/cli/healthcheck.rs: the default of timeout_seconds was not found")
    for name, container in containers(files).items():
        check = lowered(container).get("healthCheck", {})
        found += expect(check.get("command") == ["CMD", "kvs-infer", "healthcheck"], f"{name}: the health check is not `kvs-infer healthcheck`")
        limit = check.get("timeout", 0)
        found += expect(own is None or limit > int(own[1]), f"{name}: the health check has {limit} s, less than it waits itself")
    return found


@rule
def stop_timeout_is_long_enough(files: Files) -> list[str]:
    """ECS waits for longer than the program takes to stop."""
    limit = constant_seconds(files.rust, "src/service.rs", "STOP_LIMIT")
    found = []
    for name, container in containers(files).items():
        wait = lowered(container).get("stopTimeout", 0)
        found += expect(limit + 5 <= wait <= 120, f"{name}: stopTimeout is {wait} s; the program takes up to {limit} s")
    return found


@rule
def ports_agree(files: Files) -> list[str]:
    """The port of the container, of HTTP_PORT and of the security group is the program's."""
    found = []
    for name, container in containers(files).items():
        container = lowered(container)
        port = container["portMappings"][0]["containerPort"]
        found += expect(port == PORT, f"{name}: port {port}, not {PORT}")
        told = {item["name"]: item["value"] for item in container["environment"]}.get("HTTP_PORT")
        found += expect(told == str(PORT), f"{name}: HTTP_PORT is {told}")
    return found


@rule
def folders_are_the_images(files: Files) -> list[str]:
    """The guide's three host folders at the image's places, config and models read-only, and made at boot."""
    task = files.ecs["ecs-task-def"]
    host = {volume["name"]: volume["host"]["sourcePath"] for volume in task["volumes"]}
    mounted = {(host.get(at["sourceVolume"]), at["containerPath"], at["readOnly"]) for at in files.container()["mountPoints"]}
    wanted = {("/opt/kvs-infer/config", "/app/config", True), ("/opt/kvs-infer/models", "/app/models", True), ("/opt/kvs-infer/cache", "/app/.cache", False)}
    found = expect(mounted == wanted, f"ecs-task-def.json: mounts {sorted(mounted - wanted)}, lacks {sorted(wanted - mounted)}")
    made = [path for path in host.values() if path not in files.user_data]
    return found + expect(not made, f"user-data.sh does not make {made}")


@rule
def the_stacks_root_is_read_only(files: Files) -> list[str]:
    """Read-only root, no capabilities, user 10001, and Exec off unless asked for."""
    container = files.stack_container()
    found = expect(container.get("ReadonlyRootFilesystem") in (True, {"Fn::If": ["HasExec", False, True]}), "the stack's root can be written")
    found += expect(container.get("User") == "10001", "the stack's task does not run as 10001")
    found += expect("ALL" in strings(container["LinuxParameters"].get("Capabilities")), "the stack's task keeps capabilities")
    return found + expect(files.template["Parameters"]["EnableExec"]["Default"] == "false", "EnableExec is on by default")


@rule
def the_guide_has_exec(files: Files) -> list[str]:
    """Exec on and a root that can be written, as the guide's own steps need."""
    found = expect(files.ecs["ecs-service"].get("enableExecuteCommand") is True, "ecs-service.json: Exec is off")
    return found + expect(files.container().get("readonlyRootFilesystem") is False, "ecs-task-def.json: Exec needs a root that can be written")


@rule
def logs_have_a_group(files: Files) -> list[str]:
    """The group is made (by the stack; by the document before the service), with a retention."""
    group = lowered(files.container())["logConfiguration"]["options"]["awslogs-group"]
    found = expect(group == "/ecs/kvs-infer", f"ecs-task-def.json: log group {group}")
    found += expect("RetentionInDays" in files.properties("Logs"), "the stack's log group keeps everything for ever")
    options = files.stack_container()["LogConfiguration"]["Options"]
    found += expect(referred(options["awslogs-group"]) == "Logs", "the stack's task logs to a group that the stack does not make")
    script = "\n".join(text for _, text in bash_blocks(files.guide))
    made, service = script.find("create-log-group"), script.find("ecs create-service")
    return found + expect(not script or 0 <= made < service, "docs/deploy.md: no log group before the service")


@rule
def the_image_is_by_digest(files: Files) -> list[str]:
    """The stack takes an image by digest only, and tags cannot be moved."""
    pattern = files.template["Parameters"]["ImageUri"].get("AllowedPattern", "")
    tagged, digest = "r/kvs-infer:latest", "r/kvs-infer@sha256:" + "0" * 64
    found = expect(bool(re.fullmatch(pattern, digest)) and not re.fullmatch(pattern, tagged), "ImageUri takes an image by tag")
    return found + expect(files.properties("Repository").get("ImageTagMutability") == "IMMUTABLE", "the repository's tags can be moved")


# --- roles ----------------------------------------------------------------------------------------------------------


@rule
def permissions_are_the_calls(files: Files) -> list[str]:
    """The task role allows what the program calls, and what is more has its reason."""
    return calls.complaints(files)


@rule
def permissions_name_their_resources(files: Files) -> list[str]:
    """`*` only where an action knows no resource; streams of KVS by prefix and with their creation time."""
    policies = dict(calls.task_policies(files))
    policies["iam-execution-role.json"] = files.ecs["iam-execution-role"]
    policies["the stack's ExecutionRole"] = files.properties("ExecutionRole")["Policies"][0]["PolicyDocument"]
    found = []
    for name, policy in policies.items():
        for statement in calls.statements(policy):
            wide = statement["Resource"] == "*" and statement["Sid"] not in FOR_EVERYTHING
            found += expect(not wide, f"{name}: {statement['Sid']} is for every resource")
            if statement["Sid"] == "ReadCameras":
                found += expect(strings(statement["Resource"])[0].endswith("*/*"), f"{name}: the ARN of a video stream ends in /<creation time>")
    return found


@rule
def pictures_are_encrypted(files: Files) -> list[str]:
    """A put without the encryption header is refused; the program always sends it."""
    found = []
    for name, policy in calls.task_policies(files).items():
        puts = [item for item in calls.statements(policy) if "s3:PutObject" in strings(item["Action"])]
        found += expect(all("s3:x-amz-server-side-encryption" in str(item.get("Condition")) for item in puts), f"{name}: s3:PutObject without the condition on encryption")
    return found


@rule
def trust_is_for_this_account(files: Files) -> list[str]:
    """Roles of tasks can be assumed for this account's tasks only."""
    documents = {"task-trust-policy.json": files.ecs["task-trust-policy"]}
    for role in ("TaskRole", "ExecutionRole"):
        documents[f"the stack's {role}"] = files.properties(role)["AssumeRolePolicyDocument"]
    found = []
    for name, document in documents.items():
        condition = str(document["Statement"][0].get("Condition"))
        found += expect("aws:SourceAccount" in condition and "aws:SourceArn" in condition, f"{name}: no aws:SourceAccount or aws:SourceArn")
    return found


# --- hosts ----------------------------------------------------------------------------------------------------------


@rule
def capacity_provider_names_its_group(files: Files) -> list[str]:
    """By its name or its true ARN, never with a `*`."""
    arn = files.properties("CapacityProvider")["AutoScalingGroupProvider"]["AutoScalingGroupArn"]
    found = expect(referred(arn) == "Hosts", f"the stack's capacity provider is not for its own group: {arn}")
    for _, block in bash_blocks(files.guide):
        found += expect(not re.search(r"autoScalingGroup:\*", block), "docs/deploy.md: a capacity provider's ARN with *")
    return found


@rule
def busy_hosts_are_kept(files: Files) -> list[str]:
    """Scale-in spares hosts with a task, and a host that goes is drained first."""
    provider = files.properties("CapacityProvider")["AutoScalingGroupProvider"]
    found = expect(files.properties("Hosts").get("NewInstancesProtectedFromScaleIn") is True, "hosts are not protected from scale-in")
    for key in ("ManagedTerminationProtection", "ManagedDraining"):
        found += expect(provider.get(key) == "ENABLED", f"the capacity provider's {key} is not enabled")
    return found + expect(provider.get("ManagedScaling", {}).get("Status") == "ENABLED", "the capacity provider does not scale")


@rule
def metadata_is_kept_from_tasks(files: Files) -> list[str]:
    """IMDSv2 with one hop, and blocked for tasks, so that none takes the host's role."""
    options = files.properties("LaunchTemplate")["LaunchTemplateData"].get("MetadataOptions", {})
    found = expect(options.get("HttpTokens") == "required", "the launch template allows IMDSv1")
    found += expect(options.get("HttpPutResponseHopLimit") == 1, "the launch template lets containers reach the metadata")
    for name, script in boot_scripts(files).items():
        found += expect("ECS_AWSVPC_BLOCK_IMDS=true" in script, f"{name}: tasks can reach the metadata")
    guide = " ".join(block for _, block in bash_blocks(files.guide))
    told = not guide or ('HttpTokens\\": \\"required' in guide and 'HttpPutResponseHopLimit\\": 1' in guide)
    return found + expect(told, "docs/deploy.md: the launch template is without IMDSv2 and one hop")


def boot_scripts(files: Files) -> dict[str, str]:
    """The user data of the guide and of the stack."""
    stack = strings(files.properties("LaunchTemplate")["LaunchTemplateData"]["UserData"])
    return {"user-data.sh": files.user_data, "the stack's user data": stack[0]}


@rule
def hosts_join_the_cluster(files: Files) -> list[str]:
    """The cluster's name is put in, and the agent is left to the AMI: to wait for it in user data is a deadlock."""
    found = []
    for name, script in boot_scripts(files).items():
        found += expect("ECS_CLUSTER=" in script and "ECS_ENABLE_GPU_SUPPORT=true" in script, f"{name}: no ECS_CLUSTER or GPU support")
        found += expect(not re.search(r"systemctl .*\becs\b", script), f"{name}: starts the agent, which waits for user data")
        found += expect("ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" in script, f"{name}: a spot host that goes is not drained")
    return found


@rule
def disks_are_encrypted(files: Files) -> list[str]:
    """100 GB of gp3, encrypted."""
    disk = files.properties("LaunchTemplate")["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"]
    found = expect(disk.get("Encrypted") is True, "the hosts' disk is not encrypted")
    return found + expect(disk.get("VolumeType") == "gp3" and disk.get("VolumeSize") == 100, "the hosts' disk is not 100 GB of gp3")


@rule
def the_ami_is_al2023(files: Files) -> list[str]:
    """Amazon Linux 2 ended in June 2026."""
    told = files.template["Parameters"]["GpuAmi"]["Default"] + " ".join(block for _, block in bash_blocks(files.guide))
    return expect("amazon-linux-2023/gpu" in told and "amazon-linux-2/" not in told, "the AMI is not that of Amazon Linux 2023 with GPU")


@rule
def spot_has_several_types(files: Files) -> list[str]:
    """Three types, by price and capacity, with rebalancing. The overrides beat the launch template's type, on-demand as well."""
    policy = files.properties("Hosts")["MixedInstancesPolicy"]
    types = files.template["Parameters"]["InstanceTypes"]["Default"].split(",")
    found = expect(len(policy["LaunchTemplate"]["Overrides"]) == len(set(types)) == 3, "spot has not three types")
    first = {"Fn::Select": [0, {"Ref": "InstanceTypes"}]}
    told = [files.properties("LaunchTemplate")["LaunchTemplateData"]["InstanceType"], policy["LaunchTemplate"]["Overrides"][0]["InstanceType"]]
    found += expect(told == [first, first], "the launch template's type is not the one that on-demand takes first")
    found += expect(policy["InstancesDistribution"]["SpotAllocationStrategy"] == "price-capacity-optimized", "spot goes by price alone")
    return found + expect(files.properties("Hosts").get("CapacityRebalance") is True, "spot is not rebalanced")


# --- network --------------------------------------------------------------------------------------------------------


@rule
def endpoints_let_tasks_in(files: Files) -> list[str]:
    """Interface endpoints have a group of their own with 443 in from tasks and hosts, and private DNS."""
    found = []
    for name, endpoint in files.resources("AWS::EC2::VPCEndpoint").items():
        properties = endpoint["Properties"]
        if properties["VpcEndpointType"] == "Gateway":
            continue
        found += expect(properties.get("PrivateDnsEnabled") is True, f"{name}: no private DNS")
        groups = [referred(group) for group in properties.get("SecurityGroupIds", [])]
        missing = {"TaskSecurityGroup", "HostSecurityGroup"} - {source for group in groups for source in let_in(files, group, 443)}
        found += expect(not missing, f"{name}: its group lets nothing in on 443 from {sorted(missing)}")
    return found


def let_in(files: Files, group: str, port: int) -> list[str]:
    """The groups from which a group takes connections on a port."""
    rules = files.properties(group).get("SecurityGroupIngress", [])
    rules = rules if isinstance(rules, list) else []
    return [referred(item.get("SourceSecurityGroupId")) for item in rules if item["FromPort"] <= port <= item["ToPort"]]


@rule
def gateways_are_there(files: Files) -> list[str]:
    """S3 and DynamoDB by gateway, which costs nothing."""
    told = str([item["Properties"]["ServiceName"] for item in files.resources("AWS::EC2::VPCEndpoint").values()])
    return [f"no gateway of {name}" for name in ("s3", "dynamodb") if f"AWS::Region}}.{name}'" not in told]


@rule
def only_https_goes_out(files: Files) -> list[str]:
    """Tasks and hosts reach 443 and nothing else; only 8080 comes in, and only to tasks."""
    found = []
    for name in ("TaskSecurityGroup", "HostSecurityGroup"):
        egress = files.properties(name).get("SecurityGroupEgress", [])
        ports = {(item["FromPort"], item["ToPort"]) for item in egress if "FromPort" in item}
        found += expect(ports == {(443, 443)} and len(egress) == 1, f"{name}: more than 443 goes out")
    ingress = str(files.properties("TaskSecurityGroup").get("SecurityGroupIngress"))
    found += expect("0.0.0.0/0" not in ingress and "MetricsSourceCidr" in ingress, "TaskSecurityGroup: 8080 is open to everybody")
    return found + expect("SecurityGroupIngress" not in files.properties("HostSecurityGroup"), "HostSecurityGroup lets something in")


# --- data -----------------------------------------------------------------------------------------------------------


@rule
def the_bucket_is_private(files: Files) -> list[str]:
    """Public access blocked, encrypted, TLS only, kept when the stack goes, and emptied of old pictures."""
    bucket = files.properties("Bucket")
    blocked = bucket.get("PublicAccessBlockConfiguration", {})
    found = expect(len(blocked) == 4 and all(blocked.values()), "the bucket can be public")
    found += expect("BucketEncryption" in bucket, "the bucket is not encrypted")
    found += expect("ExpirationInDays" in str(bucket.get("LifecycleConfiguration")), "pictures stay for ever")
    tls = str(files.properties("BucketPolicy").get("PolicyDocument"))
    return found + expect("aws:SecureTransport" in tls, "the bucket takes requests without TLS")


@rule
def data_outlives_the_stack(files: Files) -> list[str]:
    """What cannot be made again stays when the stack is deleted."""
    kept = ("Bucket", "EventTable", "PositionTable", "Repository")
    return [f"{name} is deleted with the stack" for name in kept if files.template["Resources"][name].get("DeletionPolicy") != "Retain"]


@rule
def tables_have_the_programs_keys(files: Files) -> list[str]:
    """Keys, index and time to live as the program writes them."""
    def keys(of: dict[str, Any]) -> list[str]:
        return [item["AttributeName"] for item in of["KeySchema"]]
    events, positions = files.properties("EventTable"), files.properties("PositionTable")
    index = events.get("GlobalSecondaryIndexes", [{"IndexName": "none", "KeySchema": []}])[0]
    found = expect(keys(events) == ["event_id", "ts_ms"], f"EventTable: keys {keys(events)}")
    found += expect((index["IndexName"], keys(index)) == ("camera_id-ts_ms-index", ["camera_id", "ts_ms"]), f"EventTable: index {index}")
    found += expect(events.get("TimeToLiveSpecification") == {"AttributeName": "ttl", "Enabled": True}, "EventTable: no time to live")
    return found + expect(keys(positions) == ["camera_id"], f"PositionTable: keys {keys(positions)}")


@rule
def insights_are_enhanced(files: Files) -> list[str]:
    """The cluster has enhanced Container Insights, on which the alarm of running tasks rests."""
    return expect(files.properties("Cluster").get("ClusterSettings") == [{"Name": "containerInsights", "Value": "enhanced"}], "no enhanced Container Insights")


# --- alarms and dashboard -------------------------------------------------------------------------------------------


def alarms(files: Files) -> dict[str, dict[str, Any]]:
    """The alarms of the stack, by the name that a person sees."""
    found = files.resources("AWS::CloudWatch::Alarm")
    return {name.removesuffix("Alarm"): item["Properties"] for name, item in found.items()}


@rule
def alarms_tell_somebody(files: Files) -> list[str]:
    """Each has the topic as its action, also when it ends."""
    found = []
    for name, alarm in alarms(files).items():
        for key in ("AlarmActions", "OKActions"):
            found += expect([referred(item) for item in alarm.get(key, [])] == ["AlarmTopic"], f"{name}: {key} is not the topic")
    return found


@rule
def silence_is_an_alarm(files: Files) -> list[str]:
    """No figures at all means that no task runs."""
    return [f"{name}: missing data does not count" for name in ("NoRunningTask", "CameraDown") if alarms(files).get(name, {}).get("TreatMissingData") != "breaching"]


@rule
def alarms_are_all_there(files: Files) -> list[str]:
    """What can go wrong has an alarm, on a metric that is there."""
    wanted = {
        "RunningTaskCount", "CPUUtilization", "MemoryUtilization", "GpuUtilization", "MaxLagSeconds", "OutboxBytes",
        "OutboxOldestSeconds", "DeliveryFailures", "CamerasDown",
    }
    has = {alarm["MetricName"] for alarm in alarms(files).values()}
    found = expect(wanted == has, f"alarms lack {sorted(wanted - has)}, have more {sorted(has - wanted)}")
    for name, alarm in alarms(files).items():
        if alarm["Namespace"] == NAMESPACE:
            dimensions = tuple(item["Name"] for item in alarm["Dimensions"])
            found += expect(alarm["MetricName"] in METRICS.get(dimensions, ()), f"{name}: no metric {alarm['MetricName']} by {dimensions}")
    return found


@rule
def alarms_are_this_stacks(files: Files) -> list[str]:
    """The dimension `Service` is the stack's name, which the task is told: two stacks do not mix their figures."""
    name = {"Ref": "AWS::StackName"}
    mixed = [alarm for alarm, its in alarms(files).items() if its["Namespace"] == NAMESPACE and its["Dimensions"][0]["Value"] != name]
    found = expect(not mixed, f"alarms on another stack's figures: {mixed}")
    told = {item["Name"]: item["Value"] for item in files.stack_container()["Environment"]}
    found += expect(told.get("METRICS_SERVICE") == name, "the task is not told the stack's name")
    return found + expect("service: ${METRICS_SERVICE}" in files.cameras, "cameras.example.yaml: metrics.service is not the stack's name")


@rule
def alarms_are_explained(files: Files) -> list[str]:
    """docs/operations.md has a heading for each, and no other."""
    headings = set(re.findall(r"^### Alarm (\w+)$", files.operations, re.MULTILINE))
    names = set(alarms(files))
    return expect(headings == names, f"docs/operations.md: headings lack {sorted(names - headings)}, have more {sorted(headings - names)}")


@rule
def the_outbox_alarm_comes_in_time(files: Files) -> list[str]:
    """Before the share of KDS, one of ten parts of the default 2 GiB, is full."""
    limit = alarms(files)["OutboxFilling"]["Threshold"]
    return expect(limit < 2 * 1024**3 // 10, f"OutboxFilling: {limit} bytes is more than the share of a data stream")


@rule
def the_dashboard_shows_metrics_that_exist(files: Files) -> list[str]:
    """Each metric of our namespace is one that the program writes."""
    body = files.properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    shown = [(tuple(metric[2::2]) if isinstance(metric[-1], str) else tuple(metric[2:-1:2]), metric[1])
             for widget in json.loads(body)["widgets"] for metric in widget["properties"]["metrics"] if metric[0] == NAMESPACE]
    shown += [(tuple(found[0].split(",")), found[1]) for found in re.findall(r"\{KVS/Inference,([\w,]+)\} MetricName=\\\"(\w+)", body)]
    unknown = [(dimensions, name) for dimensions, name in shown if name not in METRICS.get(dimensions, ())]
    found = expect(not unknown, f"the dashboard shows what is not written: {unknown}")
    lacking = METRICS[("Service",)] - {name for _, name in shown}
    return found + expect(not lacking, f"the dashboard does not show {sorted(lacking)}")


# --- what belongs together ------------------------------------------------------------------------------------------


@rule
def placeholders_are_the_guides(files: Files) -> list[str]:
    """Exactly those that the guide's `sed` lines put in."""
    found = []
    for name, wanted in PLACEHOLDERS.items():
        has = set(re.findall(r"\$\{(\w+)\}", json.dumps(files.ecs[name])))
        found += expect(has == wanted, f"{name}.json: placeholders lack {sorted(wanted - has)}, have more {sorted(has - wanted)}")
    return found


@rule
def the_example_configuration_is_served(files: Files) -> list[str]:
    """Each variable of cameras.example.yaml is set by the stack's task, and EMF is on, on which alarms rest."""
    told = {item["Name"] for item in files.stack_container()["Environment"]}
    asked = set(re.findall(r"\$\{([A-Z_0-9]+)\}", files.cameras))
    found = expect(asked <= told, f"cameras.example.yaml: nobody sets {sorted(asked - told)}")
    return found + expect("emf: true" in files.cameras, "cameras.example.yaml: without metrics.emf the alarms are blind")


@rule
def the_example_parameters_exist(files: Files) -> list[str]:
    """Each parameter of parameters.example.env is one of the stack."""
    named = set(re.findall(r"^#?(\w+)=", files.parameters, re.MULTILINE))
    known = set(files.template["Parameters"])
    return expect(named <= known, f"parameters.example.env: the stack has no {sorted(named - known)}")


@rule
def the_template_can_be_sent(files: Files) -> list[str]:
    """CloudFormation takes 51,200 bytes in a request; user data 16 KiB."""
    from sources import TEMPLATE
    size = TEMPLATE.stat().st_size
    found = expect(size <= 51_200, f"kvs-infer.yaml has {size} bytes, of at most 51,200")
    return found + expect(len(base64.b64encode(files.user_data.encode())) < 16_384, "user-data.sh is too long")


def complaints(files: Files) -> dict[str, list[str]]:
    """What each rule says."""
    return {name: check(files) for name, check in RULES.items()}
