"""Rules of hosts, network and data."""

import re
from typing import Any

from checks.deployment.files import Files, strings
from checks.deployment.planned_stack import PlannedStack
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import referred, referred_in
from checks.repository import bash_blocks
from checks.tables import expect

# --- hosts ----------------------------------------------------------------------------------------------------------


@rule
def capacity_provider_names_its_group(files: Files) -> list[str]:
    """By its name or its true ARN, never with a `*`."""
    arn = files.properties("CapacityProvider")["AutoScalingGroupProvider"]["AutoScalingGroupArn"]
    found = expect(referred(arn) == "Hosts", f"the stack's capacity provider is not for its own group: {arn}")
    for _, block in bash_blocks(files.guide):
        found += expect(
            not re.search(r"autoScalingGroup:\*", block), "docs/deploy.md: a capacity provider's ARN with *"
        )
    return found


@rule
def busy_hosts_are_kept(files: Files) -> list[str]:
    """Scale-in spares hosts with a task, and a host that goes is drained first."""
    provider = files.properties("CapacityProvider")["AutoScalingGroupProvider"]
    found = expect(
        files.properties("Hosts").get("NewInstancesProtectedFromScaleIn") is True,
        "hosts are not protected from scale-in",
    )
    for key in ("ManagedTerminationProtection", "ManagedDraining"):
        found += expect(provider.get(key) == "ENABLED", f"the capacity provider's {key} is not enabled")
    return found + expect(
        provider.get("ManagedScaling", {}).get("Status") == "ENABLED", "the capacity provider does not scale"
    )


@rule
def one_host_is_bought(files: Files) -> list[str]:
    """ECS starts two hosts at once where the group has room for both; and a second one is bought as the first was."""
    group = files.properties("Hosts")
    room = str(PlannedStack(files).properties("Hosts").get("MaxSize"))
    found = expect(room == "1", f"the group of one task takes {room} hosts")
    spread = group["MixedInstancesPolicy"]["InstancesDistribution"]
    bought = (spread.get("OnDemandBaseCapacity"), spread.get("OnDemandPercentageAboveBaseCapacity"))
    found += expect(
        bought == (0, {"Fn::If": ["IsOnDemand", 100, 0]}),
        f"hosts are bought by {bought}: the second one otherwise than the first",
    )
    guide = " ".join(block for _, block in bash_blocks(files.guide))
    return found + expect(not guide or "--max-size 1 " in guide, "docs/deploy.md: the group has room for a second host")


@rule
def hosts_come_after_their_provider(files: Files) -> list[str]:
    """A capacity provider may never count a host that ran before it: the document's group begins with none."""
    guide = " ".join(block for _, block in bash_blocks(files.guide))
    return expect(
        not guide or "--desired-capacity 0 " in guide, "docs/deploy.md: a host is started before its capacity provider"
    )


@rule
def hosts_have_their_ways(files: Files) -> list[str]:
    """The routes to AWS are made before a host and deleted after it; the document makes endpoints before hosts."""
    listed = referred_in(files.template["Resources"]["Hosts"].get("Metadata"))
    kinds = ("AWS::EC2::VPCEndpoint", "AWS::EC2::Route", "AWS::EC2::SubnetRouteTableAssociation")
    ways = {name for kind in kinds for name in files.resources(kind)}
    found = expect(ways <= listed, f"Hosts can be there without {sorted(ways - listed)}")
    script = "\n".join(text for _, text in bash_blocks(files.guide))
    made, hosts = script.rfind("create-vpc-endpoint"), script.find("create-auto-scaling-group")
    return found + expect(
        not script or 0 <= made < hosts, "docs/deploy.md: hosts come before the endpoints by which they boot"
    )


@rule
def names_cannot_collide(files: Files) -> list[str]:
    """No resource of a stack named kvs-infer has a name that the document's steps, or their files, give to theirs."""
    by_hand = set(
        re.findall(
            r"[\w/-]*kvs-infer[\w/-]*", " ".join(block for _, block in bash_blocks(files.guide)) + str(files.ecs)
        )
    )
    parts = [alarm.removesuffix("Alarm") for alarm in files.resources("AWS::CloudWatch::Alarm")]
    alarms = re.findall(r"--alarm-name ([\w-]*)\$\{name\}", files.guide)
    by_hand |= {prefix + part for prefix in alarms for part in parts}
    found = []
    for resource, item in files.template["Resources"].items():
        for key, value in item.get("Properties", {}).items():
            if key in OWN_NAMES:
                name = value["Fn::Sub"] if isinstance(value, dict) and "Fn::Sub" in value else referred(value)
                name = name if isinstance(name, str) else name[0]
                name = name.replace("${AWS::StackName}", "kvs-infer").replace("AWS::StackName", "kvs-infer")
                alone = key in ("ServiceName", "PolicyName")
                found += expect(
                    alone or name == "kvs-infer" or name not in by_hand,
                    f"{resource}: {name} is what the document makes by hand",
                )
    return found


# Keys whose value AWS gives to the resource as its name.
OWN_NAMES = {
    "AlarmName",
    "ClusterName",
    "DashboardName",
    "Family",
    "LogGroupName",
    "Name",
    "RepositoryName",
    "RoleName",
    "ServiceName",
    "TableName",
    "TopicName",
    "BucketName",
    "AutoScalingGroupName",
    "LaunchTemplateName",
    "GroupName",
}


@rule
def metadata_is_kept_from_tasks(files: Files) -> list[str]:
    """IMDSv2 with one hop, and blocked for tasks, so that none takes the host's role."""
    options = files.properties("LaunchTemplate")["LaunchTemplateData"].get("MetadataOptions", {})
    found = expect(options.get("HttpTokens") == "required", "the launch template allows IMDSv1")
    found += expect(
        options.get("HttpPutResponseHopLimit") == 1, "the launch template lets containers reach the metadata"
    )
    for name, script in boot_scripts(files).items():
        found += expect("ECS_AWSVPC_BLOCK_IMDS=true" in script, f"{name}: tasks can reach the metadata")
    guide = " ".join(block for _, block in bash_blocks(files.guide))
    strict = not guide or ('HttpTokens\\": \\"required' in guide and 'HttpPutResponseHopLimit\\": 1' in guide)
    return found + expect(strict, "docs/deploy.md: the launch template is without IMDSv2 and one hop")


def boot_scripts(files: Files) -> dict[str, str]:
    """The user data of the guide and of the stack."""
    stack = strings(files.properties("LaunchTemplate")["LaunchTemplateData"]["UserData"])
    return {"user-data.sh": files.user_data, "the stack's user data": stack[0]}


@rule
def hosts_join_the_cluster(files: Files) -> list[str]:
    """The cluster's name is put in, and the agent is left to the AMI: to wait for it in user data is a deadlock."""
    found = []
    for name, script in boot_scripts(files).items():
        found += expect(
            "ECS_CLUSTER=" in script and "ECS_ENABLE_GPU_SUPPORT=true" in script,
            f"{name}: no ECS_CLUSTER or GPU support",
        )
        found += expect(
            not re.search(r"systemctl .*\becs\b", script), f"{name}: starts the agent, which waits for user data"
        )
        found += expect(
            "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" in script, f"{name}: a spot host that goes is not drained"
        )
    return found


@rule
def the_first_boot_tries_again(files: Files) -> list[str]:
    """The way to S3 may come after the boot, which happens once: the copy is tried for some minutes."""
    return expect("fill_in_time ||" in files.user_data, "user-data.sh copies configuration and models once only")


@rule
def disks_are_encrypted(files: Files) -> list[str]:
    """100 GB of gp3, encrypted."""
    disk = files.properties("LaunchTemplate")["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"]
    found = expect(disk.get("Encrypted") is True, "the hosts' disk is not encrypted")
    return found + expect(
        disk.get("VolumeType") == "gp3" and disk.get("VolumeSize") == 100, "the hosts' disk is not 100 GB of gp3"
    )


@rule
def the_ami_is_al2023(files: Files) -> list[str]:
    """Amazon Linux 2 ended in June 2026."""
    texts = files.template["Parameters"]["GpuAmi"]["Default"] + " ".join(block for _, block in bash_blocks(files.guide))
    return expect(
        "amazon-linux-2023/gpu" in texts and "amazon-linux-2/" not in texts,
        "the AMI is not that of Amazon Linux 2023 with GPU",
    )


@rule
def spot_has_several_types(files: Files) -> list[str]:
    """Three types, by price and capacity, with rebalancing. The overrides beat the launch template's type."""
    policy = files.properties("Hosts")["MixedInstancesPolicy"]
    types = files.template["Parameters"]["InstanceTypes"]["Default"].split(",")
    found = expect(len(policy["LaunchTemplate"]["Overrides"]) == len(set(types)) == 3, "spot has not three types")
    first = {"Fn::Select": [0, {"Ref": "InstanceTypes"}]}
    types = [
        files.properties("LaunchTemplate")["LaunchTemplateData"]["InstanceType"],
        policy["LaunchTemplate"]["Overrides"][0]["InstanceType"],
    ]
    found += expect(types == [first, first], "the launch template's type is not the one that on-demand takes first")
    found += expect(
        policy["InstancesDistribution"]["SpotAllocationStrategy"] == "price-capacity-optimized",
        "spot goes by price alone",
    )
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
        missing = {"TaskSecurityGroup", "HostSecurityGroup"} - {
            source for group in groups for source in let_in(files, group, 443)
        }
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
    names_of_endpoints = str(
        [item["Properties"]["ServiceName"] for item in files.resources("AWS::EC2::VPCEndpoint").values()]
    )
    return [
        f"no gateway of {name}" for name in ("s3", "dynamodb") if f"AWS::Region}}.{name}'" not in names_of_endpoints
    ]


@rule
def only_https_goes_out(files: Files) -> list[str]:
    """Tasks and hosts reach 443 and nothing else; only 8080 comes in, and only to tasks."""
    found = []
    for name in ("TaskSecurityGroup", "HostSecurityGroup"):
        egress = files.properties(name).get("SecurityGroupEgress", [])
        ports = {(item["FromPort"], item["ToPort"]) for item in egress if "FromPort" in item}
        found += expect(ports == {(443, 443)} and len(egress) == 1, f"{name}: more than 443 goes out")
    ingress = str(files.properties("TaskSecurityGroup").get("SecurityGroupIngress"))
    found += expect(
        "0.0.0.0/0" not in ingress and "MetricsSourceCidr" in ingress, "TaskSecurityGroup: 8080 is open to everybody"
    )
    return found + expect(
        "SecurityGroupIngress" not in files.properties("HostSecurityGroup"), "HostSecurityGroup lets something in"
    )


@rule
def the_network_is_wired(files: Files) -> list[str]:
    """Names for hosts, no public addresses, each subnet on its route table, SSM for hosts in place of SSH."""
    found = expect(
        files.properties("Vpc").get("EnableDnsHostnames") is True, "without names for hosts no private endpoint works"
    )
    for subnet in ("PrivateSubnet1", "PrivateSubnet2", "PublicSubnet"):
        found += expect(
            files.properties(subnet).get("MapPublicIpOnLaunch") is False, f"{subnet} gives public addresses"
        )
    links = {
        referred(item["Properties"]["SubnetId"]): referred(item["Properties"]["RouteTableId"])
        for item in files.resources("AWS::EC2::SubnetRouteTableAssociation").values()
    }
    wanted = {"PrivateSubnet1": "PrivateRoutes", "PrivateSubnet2": "PrivateRoutes", "PublicSubnet": "PublicRoutes"}
    found += expect(links == wanted, f"subnets are on the wrong tables: {links}")
    policies = str(files.properties("InstanceRole").get("ManagedPolicyArns"))
    wanted_policies = ("AmazonEC2ContainerServiceforEC2Role", "AmazonSSMManagedInstanceCore")
    return found + expect(all(name in policies for name in wanted_policies), f"hosts lack one of {wanted_policies}")


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
    """Data stays when the stack is deleted; what a failed create made goes, for it holds nothing."""
    kept = ("Bucket", "EventTable", "PositionTable", "Repository")
    wanted = "RetainExceptOnCreate"
    return [
        f"{name}: DeletionPolicy is not {wanted}"
        for name in kept
        if files.template["Resources"][name].get("DeletionPolicy") != wanted
    ]


@rule
def tables_have_the_programs_keys(files: Files) -> list[str]:
    """Keys, index and time to live as the program writes them."""

    def keys(of: dict[str, Any]) -> list[str]:
        return [item["AttributeName"] for item in of["KeySchema"]]

    events, positions = files.properties("EventTable"), files.properties("PositionTable")
    index = events.get("GlobalSecondaryIndexes", [{"IndexName": "none", "KeySchema": []}])[0]
    found = expect(keys(events) == ["event_id", "ts_ms"], f"EventTable: keys {keys(events)}")
    found += expect(
        (index["IndexName"], keys(index)) == ("camera_id-ts_ms-index", ["camera_id", "ts_ms"]),
        f"EventTable: index {index}",
    )
    found += expect(
        events.get("TimeToLiveSpecification") == {"AttributeName": "ttl", "Enabled": True},
        "EventTable: no time to live",
    )
    return found + expect(keys(positions) == ["camera_id"], f"PositionTable: keys {keys(positions)}")


@rule
def what_is_kept_is_encrypted(files: Files) -> list[str]:
    """Stream and tables are encrypted, the tables with backups."""
    key = files.properties("EventStream").get("StreamEncryption")
    found = expect(key == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}, "EventStream is not encrypted")
    for name in ("EventTable", "PositionTable", "WorkerTable"):
        table = files.properties(name)
        found += expect(table.get("SSESpecification") == {"SSEEnabled": True}, f"{name} is not encrypted")
        found += expect("PointInTimeRecoverySpecification" in table, f"{name} has no backups")
    return found


@rule
def insights_are_enhanced(files: Files) -> list[str]:
    """The cluster has enhanced Container Insights, on which the alarm of running tasks rests."""
    return expect(
        files.properties("Cluster").get("ClusterSettings") == [{"Name": "containerInsights", "Value": "enhanced"}],
        "no enhanced Container Insights",
    )
