"""Mistakes that people make in these files: each is put into a copy of them, and the rule meant for it must say so."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sources import Files


@dataclass
class Mutation:
    """A change of the files, and the rule that must catch it."""

    name: str
    rule: str
    make: Callable[[Files], object]


def stack(files: Files, resource: str) -> dict:
    """The properties of a resource of the stack."""
    return files.template["Resources"][resource]["Properties"]


def hosts_data(files: Files) -> dict:
    """The launch template's data."""
    return stack(files, "LaunchTemplate")["LaunchTemplateData"]


def statement(files: Files, sid: str) -> dict:
    """A statement of iam-task-role.json."""
    return next(item for item in files.ecs["iam-task-role"]["Statement"] if item["Sid"] == sid)


def stack_statement(files: Files, sid: str) -> dict:
    """A statement of the stack's task role."""
    listed = stack(files, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item.get("Sid") == sid)


def conditional(files: Files, sid: str) -> dict:
    """A statement of the stack's task role that is there on a condition, as it stands there."""
    listed = stack(files, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if "Fn::If" in item and item["Fn::If"][1]["Sid"] == sid)


def execution_statement(files: Files, sid: str) -> dict:
    """A statement of the stack's execution role."""
    listed = stack(files, "ExecutionRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item.get("Sid") == sid)


def github_policy(files: Files, role: str, sid: str) -> dict:
    """A statement of a role of github.yaml."""
    listed = files.github["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item["Sid"] == sid)


def github_trust(files: Files, role: str) -> dict:
    """The conditions on which a role of github.yaml can be assumed."""
    return files.github["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]


def without(text: str, part: str) -> str:
    """The text less a part, which must be in it."""
    if part not in text:
        raise LookupError(f"{part!r} is not there to be left out")
    return text.replace(part, "")


def set_user_data(files: Files, change: Callable[[str], str]) -> None:
    """Changes user-data.sh."""
    files.user_data = change(files.user_data)


def call_more(files: Files) -> None:
    """The program calls something new."""
    files.rust["src/sinks/kinesis/mod.rs"] += "\nfn f(c: &aws_sdk_kinesis::Client) { c.split_shard() }\n"


def set_dashboard(files: Files, old: str, new: str) -> None:
    """Changes the dashboard."""
    body = stack(files, "Dashboard")["DashboardBody"]
    body["Fn::Sub"] = body["Fn::Sub"].replace(old, new)


def set_guide(files: Files, text: str) -> None:
    """Adds a bash block to the guide."""
    files.guide += f"\n```bash\n{text}\n```\n"


def add_to_long_way(files: Files, text: str) -> None:
    """Adds a bash block to the end of the guide's long way."""
    files.guide = files.guide.replace("\n## Networking", f"\n```bash\n{text}\n```\n\n## Networking")


SERVICE, TASK = "ecs-service", "ecs-task-def"
MUTATIONS = [
    Mutation("launchType beside a strategy", "capacity_provider_strategy", lambda f: f.ecs[SERVICE].update(launchType="EC2")),
    Mutation("launchType beside a strategy, in the stack", "capacity_provider_strategy", lambda f: stack(f, "Service").update(LaunchType="EC2")),
    Mutation("launchType in place of a strategy", "capacity_provider_strategy", lambda f: stack(f, "Service").pop("CapacityProviderStrategy")),
    Mutation("two tasks", "one_task", lambda f: f.ecs[SERVICE].update(desiredCount=2)),
    Mutation("two tasks, in the stack", "one_task", lambda f: stack(f, "Service").update(DesiredCount=2)),
    Mutation("a service that scales", "one_task", lambda f: f.template["Resources"].update(Scaling={"Type": "AWS::ApplicationAutoScaling::ScalableTarget"})),
    Mutation("100/200 %", "deployment_frees_the_gpu", lambda f: f.ecs[SERVICE]["deploymentConfiguration"].update(minimumHealthyPercent=100, maximumPercent=200)),
    Mutation("100/200 %, in the stack", "deployment_frees_the_gpu", lambda f: stack(f, "Service")["DeploymentConfiguration"].update(MinimumHealthyPercent=100, MaximumPercent=200)),
    Mutation("zones balanced at 100 %", "deployment_frees_the_gpu", lambda f: stack(f, "Service").pop("AvailabilityZoneRebalancing")),
    Mutation("no circuit breaker", "failed_deployments_roll_back", lambda f: stack(f, "Service")["DeploymentConfiguration"].pop("DeploymentCircuitBreaker")),
    Mutation("a circuit breaker that does not roll back", "failed_deployments_roll_back", lambda f: f.ecs[SERVICE]["deploymentConfiguration"]["deploymentCircuitBreaker"].update(rollback=False)),
    Mutation("a public address", "tasks_are_private", lambda f: f.ecs[SERVICE]["networkConfiguration"]["awsvpcConfiguration"].update(assignPublicIp="ENABLED")),
    Mutation("a service with the hosts' group", "the_service_is_wired", lambda f: stack(f, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"].update(SecurityGroups=[{"Ref": "HostSecurityGroup"}])),
    Mutation("a task with the role that starts it", "the_service_is_wired", lambda f: stack(f, "TaskDefinition").update(TaskRoleArn={"Fn::GetAtt": ["ExecutionRole", "Arn"]})),
    Mutation("16 GiB on a host that has 16", "memory_fits_the_host", lambda f: f.container().update(memory=16384)),
    Mutation("16 GiB by default, in the stack", "memory_fits_the_host", lambda f: f.template["Parameters"]["TaskMemoryMiB"].update(Default=16384)),
    Mutation("a hard limit of CPU", "memory_fits_the_host", lambda f: f.ecs[TASK].update(cpu="4096")),
    Mutation("no GPU", "the_task_has_a_gpu", lambda f: f.container().pop("resourceRequirements")),
    Mutation("Fargate", "the_task_has_a_gpu", lambda f: f.ecs[TASK].update(requiresCompatibilities=["FARGATE"])),
    Mutation("the stack's own repository only", "the_image_can_be_pulled", lambda f: execution_statement(f, "PullTheImage").update(Resource={"Fn::GetAtt": ["Repository", "Arn"]})),
    Mutation("another default in deploy", "the_image_can_be_pulled", lambda f: f.template["Parameters"]["ImageRepositories"].update(Default="*")),
    Mutation("an invented repository in the guide", "the_image_can_be_pulled", lambda f: set_guide(f, "make deploy IMG=123456789012.dkr.ecr.ap-southeast-1.amazonaws.com/kvs-infer:20261124")),
    Mutation("a task that is healthy before its models are there", "health_check_is_the_programs", lambda f: f.stack_container()["HealthCheck"].update(Command=["CMD", "kvs-infer", "healthcheck"])),
    Mutation("too short a start", "health_check_is_the_programs", lambda f: f.container()["healthCheck"].update(startPeriod=120)),
    Mutation("no word of a missing model", "missing_objects_are_seen", lambda f: stack_statement(f, "SeeWhatIsMissing").pop("Condition")),
    Mutation("no word of a missing model, in the guide", "missing_objects_are_seen", lambda f: f.ecs["iam-task-role"]["Statement"].remove(statement(f, "SeeWhatIsMissing"))),
    Mutation("video under one's own key", "encrypted_video_can_be_read", lambda f: stack(f, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"].remove(conditional(f, "DecryptVideo"))),
    Mutation("any use of the video's key", "encrypted_video_can_be_read", lambda f: conditional(f, "DecryptVideo")["Fn::If"][1].pop("Condition")),
    Mutation("health by curl", "health_check_is_the_programs", lambda f: f.container()["healthCheck"].update(command=["CMD-SHELL", "curl -f localhost/healthz"])),
    Mutation("a health check with less time than it waits", "health_check_is_the_programs", lambda f: f.stack_container()["HealthCheck"].update(Timeout=2)),
    Mutation("a stop that kills what drains", "stop_timeout_is_long_enough", lambda f: f.container().update(stopTimeout=10)),
    Mutation("another port", "ports_agree", lambda f: f.stack_container()["PortMappings"][0].update(ContainerPort=80)),
    Mutation("models that can be written", "folders_are_the_images", lambda f: f.container()["mountPoints"][1].update(readOnly=False)),
    Mutation("a folder that is never made", "folders_are_the_images", lambda f: set_user_data(f, lambda text: without(text, "/opt/kvs-infer/models"))),
    Mutation("a root that can be written", "tasks_can_do_little", lambda f: f.stack_container().update(ReadonlyRootFilesystem=False)),
    Mutation("Exec by default", "tasks_can_do_little", lambda f: f.template["Parameters"]["EnableExec"].update(Default="true")),
    Mutation("Exec by default, in the guide", "tasks_can_do_little", lambda f: f.ecs[SERVICE].update(enableExecuteCommand=True)),
    Mutation("Exec's permissions by default, in the guide", "tasks_can_do_little", lambda f: f.ecs["iam-task-role"]["Statement"].extend(f.ecs["iam-exec"]["Statement"])),
    Mutation("a root that can be written, in the guide", "tasks_can_do_little", lambda f: f.container().update(readonlyRootFilesystem=False)),
    Mutation("capabilities, in the guide", "tasks_can_do_little", lambda f: f.container()["linuxParameters"].pop("capabilities")),
    Mutation("new privileges, in the guide", "tasks_can_do_little", lambda f: f.container().pop("dockerSecurityOptions")),
    Mutation("a /tmp without limit, in the guide", "tasks_can_do_little", lambda f: f.container()["linuxParameters"].pop("tmpfs")),
    Mutation("a base image by its tag", "foreign_images_are_by_digest", lambda f: setattr(f, "dockerfile", re.sub(r"slim@sha256:\w+", "slim", f.dockerfile))),
    Mutation("a stage from elsewhere", "foreign_images_are_by_digest", lambda f: setattr(f, "dockerfile", f.dockerfile + "\nFROM alpine:3 AS more\n")),
    Mutation("monitoring by its tag", "foreign_images_are_by_digest", lambda f: setattr(f, "compose", re.sub(r"v3.5.0@sha256:\w+", "v3.5.0", f.compose))),
    Mutation("no bill of materials", "foreign_images_are_by_digest", lambda f: setattr(f, "dockerfile", f.dockerfile.replace("sbom.json", "list.json"))),
    Mutation("latest, in the guide", "the_images_of_tasks_are_by_digest", lambda f: f.container().update(image="r/kvs-infer:latest")),
    Mutation("logs for ever", "logs_have_a_group", lambda f: stack(f, "Logs").pop("RetentionInDays")),
    Mutation("another log group", "logs_have_a_group", lambda f: f.container()["logConfiguration"]["options"].update({"awslogs-group": "/kvs"})),
    Mutation("an image by tag", "the_image_is_by_digest", lambda f: f.template["Parameters"]["ImageUri"].pop("AllowedPattern")),
    Mutation("tags that move", "the_image_is_by_digest", lambda f: stack(f, "Repository").update(ImageTagMutability="MUTABLE")),
    Mutation("a missing permission", "permissions_are_the_calls", lambda f: statement(f, "ReadCameras")["Action"].remove("kinesisvideo:GetMedia")),
    Mutation("a missing permission, in the stack", "permissions_are_the_calls", lambda f: stack_statement(f, "KeepRecordsAndPositions")["Action"].remove("dynamodb:UpdateItem")),
    Mutation("a permission that nothing needs", "permissions_are_the_calls", lambda f: statement(f, "PublishEvents")["Action"].append("kinesis:DeleteStream")),
    Mutation("a new call without its permission", "permissions_are_the_calls", call_more),
    Mutation("every bucket", "permissions_name_their_resources", lambda f: statement(f, "StoreSnapshots").update(Resource="*")),
    Mutation("a video stream without its creation time", "permissions_name_their_resources", lambda f: statement(f, "ReadCameras").update(Resource="arn:aws:kinesisvideo:r:1:stream/camera*")),
    Mutation("pictures without encryption", "pictures_are_encrypted", lambda f: statement(f, "StoreSnapshots").pop("Condition")),
    Mutation("trust of every account's tasks", "trust_is_for_this_account", lambda f: f.ecs["task-trust-policy"]["Statement"][0].pop("Condition")),
    Mutation("a capacity provider's ARN with *", "capacity_provider_names_its_group", lambda f: stack(f, "CapacityProvider")["AutoScalingGroupProvider"].update(AutoScalingGroupArn="arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/g")),
    Mutation("a capacity provider's ARN with *, in the guide", "capacity_provider_names_its_group", lambda f: set_guide(f, "aws ecs create-capacity-provider autoScalingGroupArn=arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/g")),
    Mutation("room for a second host", "one_host_is_bought", lambda f: stack(f, "Hosts").update(MaxSize="2")),
    Mutation("room for a second host by default", "one_host_is_bought", lambda f: f.template["Parameters"]["MaxHosts"].update(Default=2)),
    Mutation("a second host that is spot", "one_host_is_bought", lambda f: stack(f, "Hosts")["MixedInstancesPolicy"]["InstancesDistribution"].update(OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=0)),
    Mutation("room for a second host, in the guide", "one_host_is_bought", lambda f: setattr(f, "guide", f.guide.replace("--max-size 1", "--max-size 2"))),
    Mutation("a host before its capacity provider", "hosts_come_after_their_provider", lambda f: setattr(f, "guide", f.guide.replace("--desired-capacity 0", "--desired-capacity 1"))),
    Mutation("a host that outlives its route", "hosts_have_their_ways", lambda f: f.template["Resources"]["Hosts"].pop("Metadata")),
    Mutation("an endpoint that the hosts do not wait for", "hosts_have_their_ways", lambda f: f.template["Resources"].update(MoreEndpoint=f.template["Resources"]["StsEndpoint"])),
    Mutation("endpoints after the hosts, in the guide", "hosts_have_their_ways", lambda f: add_to_long_way(f, "aws ec2 create-vpc-endpoint --vpc-id ${VPC_ID}")),
    Mutation("the guide's log group", "names_cannot_collide", lambda f: stack(f, "Logs").update(LogGroupName={"Fn::Sub": "/ecs/${AWS::StackName}"})),
    Mutation("the guide's alarms", "names_cannot_collide", lambda f: setattr(f, "guide", f.guide.replace("kvs-infer-service-${name}", "kvs-infer-${name}"))),
    Mutation("the guide's cluster", "names_cannot_collide", lambda f: stack(f, "Cluster").update(ClusterName={"Fn::Sub": "${AWS::StackName}-cluster"})),
    Mutation("the guide's task definition", "names_cannot_collide", lambda f: stack(f, "TaskDefinition").update(Family={"Fn::Sub": "${AWS::StackName}-gpu"})),
    Mutation("scale-in of a busy host", "busy_hosts_are_kept", lambda f: stack(f, "Hosts").update(NewInstancesProtectedFromScaleIn=False)),
    Mutation("termination unmanaged", "busy_hosts_are_kept", lambda f: stack(f, "CapacityProvider")["AutoScalingGroupProvider"].update(ManagedTerminationProtection="DISABLED")),
    Mutation("IMDSv1", "metadata_is_kept_from_tasks", lambda f: hosts_data(f)["MetadataOptions"].update(HttpTokens="optional")),
    Mutation("two hops to the metadata", "metadata_is_kept_from_tasks", lambda f: hosts_data(f)["MetadataOptions"].update(HttpPutResponseHopLimit=2)),
    Mutation("the host's role for tasks", "metadata_is_kept_from_tasks", lambda f: set_user_data(f, lambda text: without(text, "ECS_AWSVPC_BLOCK_IMDS=true"))),
    Mutation("user data that waits for itself", "hosts_join_the_cluster", lambda f: set_user_data(f, lambda text: text + "systemctl enable --now ecs\n")),
    Mutation("a first boot that tries once", "the_first_boot_tries_again", lambda f: set_user_data(f, lambda text: text.replace("|| fill_in_time", "|| fill"))),
    Mutation("a host of no cluster", "hosts_join_the_cluster", lambda f: set_user_data(f, lambda text: without(text, "ECS_CLUSTER="))),
    Mutation("a disk in clear", "disks_are_encrypted", lambda f: hosts_data(f)["BlockDeviceMappings"][0]["Ebs"].update(Encrypted=False)),
    Mutation("Amazon Linux 2", "the_ami_is_al2023", lambda f: f.template["Parameters"]["GpuAmi"].update(Default="/aws/service/ecs/optimized-ami/amazon-linux-2/gpu/recommended/image_id")),
    Mutation("spot of one type", "spot_has_several_types", lambda f: f.template["Parameters"]["InstanceTypes"].update(Default="g4dn.xlarge")),
    Mutation("an on-demand type that the group never takes", "spot_has_several_types", lambda f: hosts_data(f).update(InstanceType={"Ref": "InstanceType"})),
    Mutation("endpoints without ingress", "endpoints_let_tasks_in", lambda f: stack(f, "EndpointSecurityGroup").pop("SecurityGroupIngress")),
    Mutation("an endpoint with the tasks' group", "endpoints_let_tasks_in", lambda f: stack(f, "VideoEndpoint").update(SecurityGroupIds=[{"Ref": "TaskSecurityGroup"}])),
    Mutation("an endpoint without private DNS", "endpoints_let_tasks_in", lambda f: stack(f, "VideoEndpoint").update(PrivateDnsEnabled=False)),
    Mutation("no gateway of S3", "gateways_are_there", lambda f: f.template["Resources"].pop("S3Gateway")),
    Mutation("everything may go out", "only_https_goes_out", lambda f: stack(f, "TaskSecurityGroup").update(SecurityGroupEgress=[{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}])),
    Mutation("8080 for everybody", "only_https_goes_out", lambda f: stack(f, "TaskSecurityGroup").update(SecurityGroupIngress=[{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "CidrIp": "0.0.0.0/0"}])),
    Mutation("a VPC without names", "the_network_is_wired", lambda f: stack(f, "Vpc").pop("EnableDnsHostnames")),
    Mutation("a private subnet on the public table", "the_network_is_wired", lambda f: stack(f, "PrivateRoutes2").update(RouteTableId={"Ref": "PublicRoutes"})),
    Mutation("a bucket that can be public", "the_bucket_is_private", lambda f: stack(f, "Bucket")["PublicAccessBlockConfiguration"].update(BlockPublicAcls=False)),
    Mutation("data that goes with the stack", "data_outlives_the_stack", lambda f: f.template["Resources"]["EventTable"].pop("DeletionPolicy")),
    Mutation("a stream in clear", "what_is_kept_is_encrypted", lambda f: stack(f, "EventStream").pop("StreamEncryption")),
    Mutation("a table without backups", "what_is_kept_is_encrypted", lambda f: stack(f, "PositionTable").pop("PointInTimeRecoverySpecification")),
    Mutation("no index by camera", "tables_have_the_programs_keys", lambda f: stack(f, "EventTable").pop("GlobalSecondaryIndexes")),
    Mutation("another key of positions", "tables_have_the_programs_keys", lambda f: stack(f, "PositionTable")["KeySchema"][0].update(AttributeName="id")),
    Mutation("plain Insights", "insights_are_enhanced", lambda f: stack(f, "Cluster").pop("ClusterSettings")),
    Mutation("an alarm without an action", "alarms_notify", lambda f: stack(f, "LagHighAlarm").pop("AlarmActions")),
    Mutation("an alarm that sleeps when no task runs", "silence_is_an_alarm", lambda f: stack(f, "NoRunningTaskAlarm").update(TreatMissingData="missing")),
    Mutation("an alarm on a metric that is not there", "alarms_are_all_there", lambda f: stack(f, "LagHighAlarm").update(MetricName="Lag")),
    Mutation("a crash without a message", "failures_are_reported_at_once", lambda f: f.template["Resources"].pop("TaskEndedRule")),
    Mutation("crashes of other clusters", "failures_are_reported_at_once", lambda f: stack(f, "TaskEndedRule")["EventPattern"]["detail"].pop("clusterArn")),
    Mutation("a failed deployment without a message", "failures_are_reported_at_once", lambda f: stack(f, "ServiceFailedRule").pop("Targets")),
    Mutation("a topic that alarms cannot reach", "failures_are_reported_at_once", lambda f: stack(f, "AlarmTopicPolicy")["PolicyDocument"]["Statement"].pop(0)),
    Mutation("a GPU host on its CPU in silence", "alarms_are_all_there", lambda f: f.template["Resources"].pop("ModelsOnCpuAlarm")),
    Mutation("an endpoint that is not paid", "the_costs_are_counted", lambda f: f.template["Resources"].pop("SecretsManagerEndpoint")),
    Mutation("another driver than the documents say", "a_refused_driver_is_explained", lambda f: setattr(f, "dockerfile", f.dockerfile.replace("cuda>=13.0", "cuda>=14.0"))),
    Mutation("a wrong sum", "the_costs_are_counted", lambda f: setattr(f, "guide", f.guide.replace("= $965", "= $804"))),
    Mutation("an alarm that is missing", "alarms_are_all_there", lambda f: f.template["Resources"].pop("OutboxOldAlarm")),
    Mutation("an alarm by another dimension", "alarms_are_all_there", lambda f: stack(f, "LagHighAlarm").update(Dimensions=[{"Name": "Camera", "Value": "a"}])),
    Mutation("an alarm on any stack's figures", "alarms_are_this_stacks", lambda f: stack(f, "LagHighAlarm")["Dimensions"][0].update(Value="kvs-infer")),
    Mutation("an alarm without an explanation", "alarms_are_explained", lambda f: setattr(f, "operations", without(f.operations, "### Alarm LagHigh"))),
    Mutation("an outbox alarm that comes too late", "the_outbox_alarm_comes_in_time", lambda f: stack(f, "OutboxFillingAlarm").update(Threshold=2 * 1024**3)),
    Mutation("a dashboard of nothing", "the_dashboard_shows_metrics_that_exist", lambda f: set_dashboard(f, "GpuMemoryUsed", "GpuMemory")),
    Mutation("a workflow that calls more", "workflows_may_do_what_they_do", lambda f: setattr(f, "release", f.release + "\naws ecs stop-task\n")),
    Mutation("a role of a workflow for more", "workflows_may_do_what_they_do", lambda f: github_policy(f, "ImageRole", "PushTheImage")["Action"].append("ecr:DeleteRepository")),
    Mutation("a push without signing in", "workflows_may_do_what_they_do", lambda f: github_policy(f, "ImageRole", "SignInToTheRegistry").update(Action="ecr:DescribeRegistry")),
    Mutation("any repository", "workflows_roles_are_theirs_alone", lambda f: github_trust(f, "DeployRole")["StringEquals"].pop("token.actions.githubusercontent.com:sub")),
    Mutation("any audience", "workflows_roles_are_theirs_alone", lambda f: github_trust(f, "ImageRole")["StringEquals"].pop("token.actions.githubusercontent.com:aud")),
    Mutation("the old subject only", "workflows_roles_are_theirs_alone", lambda f: f.github["Parameters"]["Subject"].update(AllowedPattern="^repo:[A-Za-z0-9-]+/[A-Za-z0-9._-]+$")),
    Mutation("a type that CloudFormation is not allowed to make", "cloudformation_may_make_the_stack", lambda f: f.template["Resources"].update(Queue={"Type": "AWS::SQS::Queue"})),
    Mutation("any role to CloudFormation", "cloudformation_may_make_the_stack", lambda f: github_policy(f, "DeployRole", "GiveCloudFormationItsRole").update(Resource="*")),
    Mutation("roles of workflows that a deployment can change", "cloudformation_may_make_the_stack", lambda f: github_policy(f, "CloudFormationRole", "NotTheseRoles").update(Effect="Allow")),
    Mutation("a placeholder without a value", "placeholders_are_the_guides", lambda f: f.ecs[TASK].update(family="${FAMILY}")),
    Mutation("a variable that is never set", "the_example_configuration_is_served", lambda f: setattr(f, "cameras", f.cameras + "\n# ${NEVER_SET}")),
    Mutation("no EMF", "the_example_configuration_is_served", lambda f: setattr(f, "cameras", without(f.cameras, "emf: true"))),
    Mutation("a parameter that is not there", "the_example_parameters_exist", lambda f: setattr(f, "parameters", f.parameters + "Nothing=1\n")),
    Mutation("the image runs as root", "the_image_is_as_the_tasks_want", lambda f: setattr(f, "dockerfile", without(f.dockerfile, "USER 10001:10001"))),
    Mutation("a metric that the program does not write any more", "alarms_are_all_there", lambda f: setattr(f, "operations", without(f.operations, "| Service | `CamerasDown` |"))),
]
