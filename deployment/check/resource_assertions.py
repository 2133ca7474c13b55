"""Assertions about the resources of a stack, type by type: the answer of its API against the intention of the template."""

import ast
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_aws import LocalAws
from sources import Files

Look = Callable[["Made", str], list[str]]
ASSERTIONS: dict[str, Look] = {}
ACCOUNT, REGION = "123456789012", "ap-southeast-1"


@dataclass
class Made:
    """A stack that was created: its resources' own names by those of the file."""

    aws: LocalAws
    files: Files
    stack: str
    ids: dict[str, str]
    given: dict[str, str]

    def parameter(self, name: str) -> str:
        """A parameter's value."""
        return self.given.get(name, str(self.files.template["Parameters"][name].get("Default")))

    def subnets(self) -> list[str]:
        """The private subnets, made or given."""
        return [self.ids["PrivateSubnet1"], self.ids["PrivateSubnet2"]] if "Vpc" in self.ids else self.parameter("SubnetIds").split(",")

    def vpc(self) -> str:
        """The VPC, made or given."""
        return self.ids.get("Vpc") or self.parameter("VpcId")

    def tables(self) -> list[str]:
        """The route tables of the private subnets."""
        return [self.ids["PrivateRoutes"]] if "Vpc" in self.ids else self.parameter("RouteTableIds").split(",")


def looks_at(kind: str) -> Callable[[Look], Look]:
    """Registers the assertion about the resources of a type."""
    def register(look: Look) -> Look:
        ASSERTIONS[kind] = look
        return look
    return register


def differing(**pairs: tuple[object, object]) -> list[str]:
    """A complaint for each pair whose halves, what is and what should be, differ."""
    return [f"{name}: {has}, not {wanted}" for name, (has, wanted) in pairs.items() if has != wanted]


# --- network --------------------------------------------------------------------------------------------------------


@looks_at("AWS::EC2::VPC")
def vpc(made: Made, name: str) -> list[str]:
    """Its range, and names for its hosts, which private endpoints need."""
    ec2 = made.aws.client("ec2")
    found = ec2.describe_vpcs(VpcIds=[made.ids[name]])["Vpcs"][0]
    hosts = ec2.describe_vpc_attribute(VpcId=made.ids[name], Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]
    return differing(range=(found["CidrBlock"], made.parameter("VpcCidr")), names=(hosts, True))


@looks_at("AWS::EC2::Subnet")
def subnet(made: Made, name: str) -> list[str]:
    """Its range and VPC; no public addresses; the private ones in different zones."""
    ec2 = made.aws.client("ec2")
    found = ec2.describe_subnets(SubnetIds=[made.ids[name]])["Subnets"][0]
    ranges = {"PrivateSubnet1": "PrivateCidr1", "PrivateSubnet2": "PrivateCidr2", "PublicSubnet": "PublicCidr"}
    zones = {item["AvailabilityZone"] for item in ec2.describe_subnets(SubnetIds=made.subnets())["Subnets"]}
    return differing(
        range=(found["CidrBlock"], made.parameter(ranges[name])),
        vpc=(found["VpcId"], made.vpc()),
        public=(found["MapPublicIpOnLaunch"], False),
        zones=(len(zones), 2),
    )


def routes(made: Made, table: str) -> dict[str, Any]:
    """A route table."""
    return made.aws.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"][0]


@looks_at("AWS::EC2::RouteTable")
def route_table(made: Made, name: str) -> list[str]:
    """It is of the VPC."""
    return differing(vpc=(routes(made, made.ids[name])["VpcId"], made.vpc()))


@looks_at("AWS::EC2::SubnetRouteTableAssociation")
def association(made: Made, name: str) -> list[str]:
    """Private subnets on the private table, the public one on the public."""
    table = "PrivateRoutes" if name.startswith("Private") else "PublicRoutes"
    wanted = made.subnets() if table == "PrivateRoutes" else [made.ids["PublicSubnet"]]
    has = [item["SubnetId"] for item in routes(made, made.ids[table])["Associations"] if "SubnetId" in item]
    return differing(subnets=(sorted(has), sorted(wanted)))


@looks_at("AWS::EC2::Route")
def route(made: Made, name: str) -> list[str]:
    """The way out: by NAT from the private subnets, by the internet gateway from the public one."""
    table, key, by = ("PrivateRoutes", "NatGatewayId", "Nat") if name == "PrivateRoute" else ("PublicRoutes", "GatewayId", "InternetGateway")
    out = [item.get(key) for item in routes(made, made.ids[table])["Routes"] if item.get("DestinationCidrBlock") == "0.0.0.0/0"]
    return differing(out=(out, [made.ids[by]]))


@looks_at("AWS::EC2::InternetGateway")
@looks_at("AWS::EC2::VPCGatewayAttachment")
def internet_gateway(made: Made, _: str) -> list[str]:
    """It is attached to the VPC."""
    gateway = made.aws.client("ec2").describe_internet_gateways(InternetGatewayIds=[made.ids["InternetGateway"]])["InternetGateways"][0]
    return differing(attached=([item["VpcId"] for item in gateway["Attachments"]], [made.vpc()]))


@looks_at("AWS::EC2::EIP")
@looks_at("AWS::EC2::NatGateway")
def nat(made: Made, _: str) -> list[str]:
    """In the public subnet, with the address."""
    gateway = made.aws.client("ec2").describe_nat_gateways(NatGatewayIds=[made.ids["Nat"]])["NatGateways"][0]
    addresses = made.aws.client("ec2").describe_addresses(PublicIps=[made.ids["NatAddress"]])["Addresses"]
    has = [item["AllocationId"] for item in gateway["NatGatewayAddresses"]]
    return differing(subnet=(gateway["SubnetId"], made.ids["PublicSubnet"]), address=(has, [item["AllocationId"] for item in addresses]))


def rules_of(permissions: list[dict[str, Any]]) -> list[tuple[int | None, str]]:
    """The port of each rule, with the range or group it is for."""
    allowed = []
    for item in permissions:
        others = [entry["CidrIp"] for entry in item["IpRanges"]] + [pair["GroupId"] for pair in item["UserIdGroupPairs"]]
        allowed += [(item.get("FromPort"), other) for other in others]
    return sorted(allowed, key=str)


@looks_at("AWS::EC2::SecurityGroup")
def security_group(made: Made, name: str) -> list[str]:
    """What goes in and out."""
    group = made.aws.client("ec2").describe_security_groups(GroupIds=[made.ids[name]])["SecurityGroups"][0]
    https, metrics = [(443, "0.0.0.0/0")], made.parameter("MetricsSourceCidr")
    ingress = {
        "TaskSecurityGroup": [(8080, metrics)] if metrics else [],
        "HostSecurityGroup": [],
        "EndpointSecurityGroup": sorted(((443, made.ids[of]) for of in ("TaskSecurityGroup", "HostSecurityGroup")), key=str),
    }
    out = rules_of(group["IpPermissionsEgress"])
    wanted = [(None, "127.0.0.1/32")] if name == "EndpointSecurityGroup" else https
    found = differing(ingress=(rules_of(group["IpPermissions"]), ingress[name]), vpc=(group["VpcId"], made.vpc()))
    return found + differing(egress=([(None if port == -1 else port, to) for port, to in out], wanted))


@looks_at("AWS::EC2::VPCEndpoint")
def endpoint(made: Made, name: str) -> list[str]:
    """Its service; a gateway on the private route tables; an interface in both subnets, with its own group and private names."""
    has = made.aws.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[made.ids[name]])["VpcEndpoints"][0]
    service = made.files.properties(name)["ServiceName"]["Fn::Sub"].replace("${AWS::Region}", REGION)
    found = differing(service=(has["ServiceName"], service), vpc=(has["VpcId"], made.vpc()))
    if has["VpcEndpointType"] == "Gateway":
        return found + differing(tables=(has["RouteTableIds"], made.tables()))
    groups = [item["GroupId"] for item in has["Groups"]]
    return found + differing(
        subnets=(sorted(has["SubnetIds"]), sorted(made.subnets())),
        names=(has["PrivateDnsEnabled"], True),
        groups=(groups, [made.ids["EndpointSecurityGroup"]]),
    )


# --- registry and roles ---------------------------------------------------------------------------------------------


@looks_at("AWS::ECR::Repository")
def repository(made: Made, name: str) -> list[str]:
    """Tags that stay, scans, and a lifecycle policy for what has no tag."""
    ecr = made.aws.client("ecr")
    has = ecr.describe_repositories(repositoryNames=[made.ids[name]])["repositories"][0]
    return differing(
        tags=(has["imageTagMutability"], "IMMUTABLE"),
        scans=(has["imageScanningConfiguration"].get("scanOnPush"), True),
        expires=(images_that_go(ecr, made.ids[name]), ["untagged"]),
    )


def images_that_go(ecr: Any, repository: str) -> list[str]:
    """Which images a lifecycle policy throws away."""
    try:
        policy = json.loads(ecr.get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    except ecr.exceptions.LifecyclePolicyNotFoundException:
        return []
    return [item["selection"]["tagStatus"] for item in policy["rules"]]


def resources_of(made: Made) -> dict[str, list[str]]:
    """The ARNs that each statement of the roles must name."""
    kvs, bucket = f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream", f"arn:aws:s3:::{made.ids['Bucket']}"
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table"
    return {
        "ReadCameras": [f"{kvs}/{made.parameter('KvsStreamPrefix')}*/*"],
        "Notify": [f"arn:aws:sns:{REGION}:{ACCOUNT}:kvs-infer-*"],
        "PublishEvents": [f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{made.ids['EventStream']}"],
        "StoreSnapshots": [f"{bucket}/{made.parameter('S3Prefix')}/*"],
        "ReadConfigurationAndModels": [f"{bucket}/config/*", f"{bucket}/models/*"],
        "SeeWhatIsMissing": [bucket],
        "DecryptVideo": made.parameter("KvsKeyArns").split(","),
        "KeepRecordsAndPositions": [f"{table}/{made.ids['EventTable']}", f"{table}/{made.ids['PositionTable']}"],
        "EncryptAndDecryptInTheBucket": [made.parameter("KmsKeyArn")],
        "Exec": ["*"],
        "SignInToTheRegistry": ["*"],
        "PullTheImage": [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}" for name in (made.ids["Repository"], made.parameter("ImageRepositories"))],
        "WriteLogs": [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{made.ids['Logs']}:*"],
        "ReadTheToken": [made.parameter("HttpTokenSecretArn")],
    }


def statements_wanted(made: Made, name: str) -> set[str]:
    """The statements that a role must have with these parameters."""
    asked = {"Exec": made.parameter("EnableExec") == "true", "EncryptAndDecryptInTheBucket": made.parameter("KmsKeyArn") != ""}
    asked["DecryptVideo"] = made.parameter("KvsKeyArns") != ""
    asked["ReadTheToken"] = made.parameter("HttpTokenSecretArn") != ""
    document = made.files.properties(name)["Policies"][0]["PolicyDocument"]
    sids = [(item["Fn::If"][1] if "Fn::If" in item else item)["Sid"] for item in document["Statement"]]
    return {sid for sid in sids if asked.get(sid, True)}


def statements_of(iam: Any, role: str) -> list[dict[str, Any]]:
    """The statements of a role's inline policy. moto gives one with `AWS::NoValue` in it as Python writes it, with None for that."""
    policy = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    document = ast.literal_eval(document) if isinstance(document, str) else document
    return [item for item in document["Statement"] if item]


@looks_at("AWS::IAM::Role")
def role(made: Made, name: str) -> list[str]:
    """Who may take it; its policies, each statement with the true ARNs."""
    iam = made.aws.client("iam")
    trust = json.dumps(iam.get_role(RoleName=made.ids[name])["Role"]["AssumeRolePolicyDocument"])
    if name == "InstanceRole":
        attached = {item["PolicyName"] for item in iam.list_attached_role_policies(RoleName=made.ids[name])["AttachedPolicies"]}
        wanted = {"AmazonEC2ContainerServiceforEC2Role", "AmazonSSMManagedInstanceCore"}
        return differing(attached=(attached, wanted), trusted=("ec2.amazonaws.com" in trust, True))
    listed = {item["Sid"]: item["Resource"] for item in statements_of(iam, made.ids[name])}
    found = differing(statements=(set(listed), statements_wanted(made, name)), account=(f'"aws:SourceAccount": "{ACCOUNT}"' in trust, True))
    for sid, resource in listed.items():
        has = [resource] if isinstance(resource, str) else resource
        found += differing(**{sid: (has, resources_of(made)[sid])})
    return found


@looks_at("AWS::IAM::InstanceProfile")
def instance_profile(made: Made, name: str) -> list[str]:
    """It has the hosts' role."""
    roles = made.aws.client("iam").get_instance_profile(InstanceProfileName=made.ids[name])["InstanceProfile"]["Roles"]
    return differing(roles=([item["RoleName"] for item in roles], [made.ids["InstanceRole"]]))


# --- data -----------------------------------------------------------------------------------------------------------


@looks_at("AWS::Kinesis::Stream")
def stream(made: Made, name: str) -> list[str]:
    """Encrypted, with its shards, for a day."""
    has = made.aws.client("kinesis").describe_stream_summary(StreamName=made.ids[name])["StreamDescriptionSummary"]
    return differing(
        encryption=((has["EncryptionType"], has.get("KeyId")), ("KMS", "alias/aws/kinesis")),
        shards=(has["OpenShardCount"], int(made.parameter("KdsShards"))),
        hours=(has["RetentionPeriodHours"], 24),
    )


@looks_at("AWS::S3::Bucket")
def bucket(made: Made, name: str) -> list[str]:
    """Private, encrypted, versioned, emptied of old pictures."""
    s3, named = made.aws.client("s3"), {"Bucket": made.ids[name]}
    sse = s3.get_bucket_encryption(**named)["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    key = made.parameter("KmsKeyArn")
    return differing(
        blocked=(blocked(s3, made.ids[name]), [True] * 4),
        encryption=((sse["SSEAlgorithm"], sse.get("KMSMasterKeyID")), ("aws:kms", key) if key else ("AES256", None)),
        versions=(s3.get_bucket_versioning(**named).get("Status"), "Enabled"),
        expires=(expiry(s3, made.ids[name]), [(f"{made.parameter('S3Prefix')}/", int(made.parameter("SnapshotDays")))]),
    )


def blocked(s3: Any, bucket: str) -> list[bool]:
    """The four blocks of public access, where there are any."""
    try:
        return list(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    except s3.exceptions.ClientError:
        return []


def expiry(s3: Any, bucket: str) -> list[tuple[str, int]]:
    """What of a bucket goes after how many days."""
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except s3.exceptions.ClientError:
        return []
    return [(rule.get("Prefix") or rule["Filter"]["Prefix"], rule["Expiration"]["Days"]) for rule in rules if "Expiration" in rule]


@looks_at("AWS::DynamoDB::Table")
def table(made: Made, name: str) -> list[str]:
    """Keys, index, time to live, backups, encryption."""
    dynamodb = made.aws.client("dynamodb")
    has = dynamodb.describe_table(TableName=made.ids[name])["Table"]
    keys = [item["AttributeName"] for item in has["KeySchema"]]
    indexes = {item["IndexName"]: [key["AttributeName"] for key in item["KeySchema"]] for item in has.get("GlobalSecondaryIndexes", [])}
    backups = dynamodb.describe_continuous_backups(TableName=made.ids[name])["ContinuousBackupsDescription"]
    expiry = dynamodb.describe_time_to_live(TableName=made.ids[name])["TimeToLiveDescription"]
    events = name == "EventTable"
    return differing(
        keys=(keys, ["event_id", "ts_ms"] if events else ["camera_id"]),
        indexes=(indexes, {"camera_id-ts_ms-index": ["camera_id", "ts_ms"]} if events else {}),
        expires=(expiry.get("AttributeName") if expiry["TimeToLiveStatus"] == "ENABLED" else None, "ttl" if events else None),
        backups=(backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "ENABLED"),
        pays=(has["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST"),
        encrypted=(has.get("SSEDescription", {}).get("Status"), "ENABLED"),
    )


@looks_at("AWS::Logs::LogGroup")
def log_group(made: Made, name: str) -> list[str]:
    """Its retention."""
    groups = made.aws.client("logs").describe_log_groups(logGroupNamePrefix=made.ids[name])["logGroups"]
    has = next(item for item in groups if item["logGroupName"] == made.ids[name])
    return differing(days=(has.get("retentionInDays"), int(made.parameter("LogDays"))))


# --- hosts and service ----------------------------------------------------------------------------------------------


@looks_at("AWS::ECS::Cluster")
def cluster(made: Made, name: str) -> list[str]:
    """Enhanced Container Insights."""
    has = made.aws.client("ecs").describe_clusters(clusters=[made.ids[name]], include=["SETTINGS"])["clusters"][0]
    return differing(settings=(has["settings"], [{"name": "containerInsights", "value": "enhanced"}]))


@looks_at("AWS::EC2::LaunchTemplate")
def launch_template(made: Made, name: str) -> list[str]:
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


@looks_at("AWS::AutoScaling::AutoScalingGroup")
def hosts(made: Made, name: str) -> list[str]:
    """One host at most, in both subnets, protected, bought as asked; the types in order."""
    has = made.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[made.ids[name]])["AutoScalingGroups"][0]
    policy = has["MixedInstancesPolicy"]
    types = [item["InstanceType"] for item in policy["LaunchTemplate"]["Overrides"]]
    spread = policy["InstancesDistribution"]
    return differing(
        size=((has["MinSize"], has["MaxSize"]), (0, int(made.parameter("MaxHosts")))),
        protected=(has["NewInstancesProtectedFromScaleIn"], True),
        rebalanced=(has["CapacityRebalance"], True),
        subnets=(sorted(has["VPCZoneIdentifier"].split(",")), sorted(made.subnets())),
        types=(types, made.parameter("InstanceTypes").split(",")),
        bought=([int(spread[key]) for key in ("OnDemandBaseCapacity", "OnDemandPercentageAboveBaseCapacity")], [0, 100 if made.parameter("Purchase") == "on-demand" else 0]),
        strategy=(spread["SpotAllocationStrategy"], "price-capacity-optimized"),
        template=(policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"], made.ids["LaunchTemplate"]),
    )


@looks_at("AWS::ECS::TaskDefinition")
def task_definition(made: Made, name: str) -> list[str]:
    """The container: image, limits, GPU, port, rights, log group; the variables with the true names."""
    has = made.aws.client("ecs").describe_task_definition(taskDefinition=made.ids[name])["taskDefinition"]
    container, exec_on = has["containerDefinitions"][0], made.parameter("EnableExec") == "true"
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
        roles=([has.get(key, "").rsplit("/")[-1] for key in ("taskRoleArn", "executionRoleArn")], [made.ids["TaskRole"], made.ids["ExecutionRole"]]),
        secrets=(container.get("secrets") or [], [{"name": "HTTP_TOKEN", "valueFrom": token}] if token else []),
        variables=({item["name"]: item["value"] for item in container["environment"]}, variables(made)),
    )


def variables(made: Made) -> dict[str, str]:
    """The environment that the task needs."""
    key = made.parameter("KmsKeyArn")
    return {
        "AWS_REGION": REGION, "HTTP_PORT": "8080", "METRICS_SERVICE": made.stack, "KDS_STREAM": made.ids["EventStream"],
        "CONFIG_FILE": f"s3://{made.ids['Bucket']}/{made.parameter('ConfigKey')}", "S3_BUCKET": made.ids["Bucket"],
        "S3_PREFIX": made.parameter("S3Prefix"), "S3_SSE": "aws:kms" if key else "AES256", "S3_KMS_KEY": key or "alias/aws/s3",
        "EVENT_TABLE": made.ids["EventTable"], "POSITION_TABLE": made.ids["PositionTable"],
    }


@looks_at("AWS::ECS::Service")
def service(made: Made, name: str) -> list[str]:
    """One task, in both subnets, without a public address. moto keeps no percents and no strategy: rules over the files cover them."""
    has = made.aws.client("ecs").describe_services(cluster=made.ids["Cluster"], services=[made.ids[name]])["services"][0]
    at = has["networkConfiguration"].get("awsvpcConfiguration", {})
    return differing(
        count=(has["desiredCount"], 1),
        task=(has["taskDefinition"], made.ids["TaskDefinition"]),
        subnets=(sorted(at.get("subnets", [])), sorted(made.subnets())),
        groups=(at.get("securityGroups"), [made.ids["TaskSecurityGroup"]]),
        public=(at.get("assignPublicIp"), "DISABLED"),
    )


# --- alarms and dashboard -------------------------------------------------------------------------------------------


@looks_at("AWS::SNS::Topic")
def topic(made: Made, name: str) -> list[str]:
    """It says whose alarms these are."""
    attributes = made.aws.client("sns").get_topic_attributes(TopicArn=made.ids[name])["Attributes"]
    return differing(shown=(attributes["DisplayName"], f"{made.stack} alarms"))


@looks_at("AWS::Events::Rule")
def event_rule(made: Made, name: str) -> list[str]:
    """Its pattern with the true names, and the topic as its target."""
    events = made.aws.client("events")
    listed = {item["Name"]: item for page in events.get_paginator("list_rules").paginate() for item in page["Rules"]}
    own = listed[made.ids[name].rsplit("/")[-1]]
    targets = events.list_targets_by_rule(Rule=own["Name"])["Targets"]
    of = made.ids["Cluster"] if name == "TaskEndedRule" else made.ids["Service"]
    return differing(pattern=(of.rsplit("/")[-1] in own["EventPattern"], True), targets=([item["Arn"] for item in targets], [made.ids["AlarmTopic"]]))


@looks_at("AWS::CloudWatch::Dashboard")
def dashboard(made: Made, name: str) -> list[str]:
    """JSON with all its names put in, whose widgets do not overlap."""
    text = made.aws.client("cloudwatch").get_dashboard(DashboardName=made.ids[name])["DashboardBody"]
    widgets = json.loads(text)["widgets"]
    places = [(item["x"], item["y"]) for item in widgets]
    wanted = len(json.loads(made.files.properties(name)["DashboardBody"]["Fn::Sub"])["widgets"])
    return differing(names=("${" in text, False), widgets=(len(widgets), wanted), places=(len(set(places)), len(places)))
