"""Mistakes that the rules of hosts, network and data must catch."""

from checks.deployment.mutations.edits import (
    Mutation,
    add_to_long_way,
    hosts_data,
    set_guide,
    set_user_data,
    stack,
    without,
)
from checks.deployment.rules import hosts

MUTATIONS = [
    Mutation(
        "a capacity provider's ARN with *",
        hosts.capacity_provider_names_its_group,
        lambda f: stack(f, "CapacityProvider")["AutoScalingGroupProvider"].update(
            AutoScalingGroupArn="arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/g"
        ),
    ),
    Mutation(
        "a capacity provider's ARN with *, in the guide",
        hosts.capacity_provider_names_its_group,
        lambda f: set_guide(
            f,
            "aws ecs create-capacity-provider "
            "autoScalingGroupArn=arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/g",
        ),
    ),
    Mutation("room for a second host", hosts.one_host_is_bought, lambda f: stack(f, "Hosts").update(MaxSize="2")),
    Mutation(
        "room for a second host by default",
        hosts.one_host_is_bought,
        lambda f: f.template["Parameters"]["MaxHosts"].update(Default=2),
    ),
    Mutation(
        "a second host that is spot",
        hosts.one_host_is_bought,
        lambda f: stack(f, "Hosts")["MixedInstancesPolicy"]["InstancesDistribution"].update(
            OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=0
        ),
    ),
    Mutation(
        "room for a second host, in the guide",
        hosts.one_host_is_bought,
        lambda f: setattr(f, "guide", f.guide.replace("--max-size 1", "--max-size 2")),
    ),
    Mutation(
        "a host before its capacity provider",
        hosts.hosts_come_after_their_provider,
        lambda f: setattr(f, "guide", f.guide.replace("--desired-capacity 0", "--desired-capacity 1")),
    ),
    Mutation(
        "a host that outlives its route",
        hosts.hosts_have_their_ways,
        lambda f: f.template["Resources"]["Hosts"].pop("Metadata"),
    ),
    Mutation(
        "an endpoint that the hosts do not wait for",
        hosts.hosts_have_their_ways,
        lambda f: f.template["Resources"].update(MoreEndpoint=f.template["Resources"]["StsEndpoint"]),
    ),
    Mutation(
        "endpoints after the hosts, in the guide",
        hosts.hosts_have_their_ways,
        lambda f: add_to_long_way(f, "aws ec2 create-vpc-endpoint --vpc-id ${VPC_ID}"),
    ),
    Mutation(
        "the guide's log group",
        hosts.names_cannot_collide,
        lambda f: stack(f, "Logs").update(LogGroupName={"Fn::Sub": "/ecs/${AWS::StackName}"}),
    ),
    Mutation(
        "the guide's alarms",
        hosts.names_cannot_collide,
        lambda f: setattr(f, "guide", f.guide.replace("kvs-infer-service-${name}", "kvs-infer-${name}")),
    ),
    Mutation(
        "the guide's cluster",
        hosts.names_cannot_collide,
        lambda f: stack(f, "Cluster").update(ClusterName={"Fn::Sub": "${AWS::StackName}-cluster"}),
    ),
    Mutation(
        "the guide's task definition",
        hosts.names_cannot_collide,
        lambda f: stack(f, "TaskDefinition").update(Family={"Fn::Sub": "${AWS::StackName}-gpu"}),
    ),
    Mutation(
        "scale-in of a busy host",
        hosts.busy_hosts_are_kept,
        lambda f: stack(f, "Hosts").update(NewInstancesProtectedFromScaleIn=False),
    ),
    Mutation(
        "termination unmanaged",
        hosts.busy_hosts_are_kept,
        lambda f: stack(f, "CapacityProvider")["AutoScalingGroupProvider"].update(
            ManagedTerminationProtection="DISABLED"
        ),
    ),
    Mutation(
        "IMDSv1",
        hosts.metadata_is_kept_from_tasks,
        lambda f: hosts_data(f)["MetadataOptions"].update(HttpTokens="optional"),
    ),
    Mutation(
        "two hops to the metadata",
        hosts.metadata_is_kept_from_tasks,
        lambda f: hosts_data(f)["MetadataOptions"].update(HttpPutResponseHopLimit=2),
    ),
    Mutation(
        "the host's role for tasks",
        hosts.metadata_is_kept_from_tasks,
        lambda f: set_user_data(f, lambda text: without(text, "ECS_AWSVPC_BLOCK_IMDS=true")),
    ),
    Mutation(
        "user data that waits for itself",
        hosts.hosts_join_the_cluster,
        lambda f: set_user_data(f, lambda text: text + "systemctl enable --now ecs\n"),
    ),
    Mutation(
        "a first boot that tries once",
        hosts.the_first_boot_tries_again,
        lambda f: set_user_data(f, lambda text: text.replace("|| fill_in_time", "|| fill")),
    ),
    Mutation(
        "a host of no cluster",
        hosts.hosts_join_the_cluster,
        lambda f: set_user_data(f, lambda text: without(text, "ECS_CLUSTER=")),
    ),
    Mutation(
        "a disk in clear",
        hosts.disks_are_encrypted,
        lambda f: hosts_data(f)["BlockDeviceMappings"][0]["Ebs"].update(Encrypted=False),
    ),
    Mutation(
        "Amazon Linux 2",
        hosts.the_ami_is_al2023,
        lambda f: f.template["Parameters"]["GpuAmi"].update(
            Default="/aws/service/ecs/optimized-ami/amazon-linux-2/gpu/recommended/image_id"
        ),
    ),
    Mutation(
        "spot of one type",
        hosts.spot_has_several_types,
        lambda f: f.template["Parameters"]["InstanceTypes"].update(Default="g4dn.xlarge"),
    ),
    Mutation(
        "an on-demand type that the group never takes",
        hosts.spot_has_several_types,
        lambda f: hosts_data(f).update(InstanceType={"Ref": "InstanceType"}),
    ),
    Mutation(
        "endpoints without ingress",
        hosts.endpoints_let_tasks_in,
        lambda f: stack(f, "EndpointSecurityGroup").pop("SecurityGroupIngress"),
    ),
    Mutation(
        "an endpoint with the tasks' group",
        hosts.endpoints_let_tasks_in,
        lambda f: stack(f, "VideoEndpoint").update(SecurityGroupIds=[{"Ref": "TaskSecurityGroup"}]),
    ),
    Mutation(
        "an endpoint without private DNS",
        hosts.endpoints_let_tasks_in,
        lambda f: stack(f, "VideoEndpoint").update(PrivateDnsEnabled=False),
    ),
    Mutation("no gateway of S3", hosts.gateways_are_there, lambda f: f.template["Resources"].pop("S3Gateway")),
    Mutation(
        "everything may go out",
        hosts.only_https_goes_out,
        lambda f: stack(f, "TaskSecurityGroup").update(
            SecurityGroupEgress=[{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}]
        ),
    ),
    Mutation(
        "8080 for everybody",
        hosts.only_https_goes_out,
        lambda f: stack(f, "TaskSecurityGroup").update(
            SecurityGroupIngress=[{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "CidrIp": "0.0.0.0/0"}]
        ),
    ),
    Mutation("a VPC without names", hosts.the_network_is_wired, lambda f: stack(f, "Vpc").pop("EnableDnsHostnames")),
    Mutation(
        "a private subnet on the public table",
        hosts.the_network_is_wired,
        lambda f: stack(f, "PrivateRoutes2").update(RouteTableId={"Ref": "PublicRoutes"}),
    ),
    Mutation(
        "a bucket that can be public",
        hosts.the_bucket_is_private,
        lambda f: stack(f, "Bucket")["PublicAccessBlockConfiguration"].update(BlockPublicAcls=False),
    ),
    Mutation(
        "data that goes with the stack",
        hosts.data_outlives_the_stack,
        lambda f: f.template["Resources"]["EventTable"].pop("DeletionPolicy"),
    ),
    Mutation(
        "a stream in clear", hosts.what_is_kept_is_encrypted, lambda f: stack(f, "EventStream").pop("StreamEncryption")
    ),
    Mutation(
        "a table without backups",
        hosts.what_is_kept_is_encrypted,
        lambda f: stack(f, "PositionTable").pop("PointInTimeRecoverySpecification"),
    ),
    Mutation(
        "no index by camera",
        hosts.tables_have_the_programs_keys,
        lambda f: stack(f, "EventTable").pop("GlobalSecondaryIndexes"),
    ),
    Mutation(
        "another key of positions",
        hosts.tables_have_the_programs_keys,
        lambda f: stack(f, "PositionTable")["KeySchema"][0].update(AttributeName="id"),
    ),
    Mutation("plain Insights", hosts.insights_are_enhanced, lambda f: stack(f, "Cluster").pop("ClusterSettings")),
]
