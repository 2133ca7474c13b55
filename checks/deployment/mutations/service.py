"""Mistakes that the rules of the service, its task and roles must catch."""

import re

from checks.deployment.mutations.edits import (
    SERVICE,
    TASK,
    Mutation,
    call_more,
    conditional,
    execution_statement,
    set_guide,
    set_user_data,
    stack,
    stack_statement,
    statement,
    without,
)
from checks.deployment.rules import service

MUTATIONS = [
    Mutation(
        "launchType beside a strategy",
        service.capacity_provider_strategy,
        lambda f: f.ecs[SERVICE].update(launchType="EC2"),
    ),
    Mutation(
        "launchType beside a strategy, in the stack",
        service.capacity_provider_strategy,
        lambda f: stack(f, "Service").update(LaunchType="EC2"),
    ),
    Mutation(
        "launchType in place of a strategy",
        service.capacity_provider_strategy,
        lambda f: stack(f, "Service").pop("CapacityProviderStrategy"),
    ),
    Mutation(
        "100/200 %",
        service.deployment_frees_the_gpu,
        lambda f: f.ecs[SERVICE]["deploymentConfiguration"].update(minimumHealthyPercent=100, maximumPercent=200),
    ),
    Mutation(
        "100/200 %, in the stack",
        service.deployment_frees_the_gpu,
        lambda f: stack(f, "Service")["DeploymentConfiguration"].update(MinimumHealthyPercent=100, MaximumPercent=200),
    ),
    Mutation(
        "zones balanced at 100 %",
        service.deployment_frees_the_gpu,
        lambda f: stack(f, "Service").pop("AvailabilityZoneRebalancing"),
    ),
    Mutation(
        "no circuit breaker",
        service.failed_deployments_roll_back,
        lambda f: stack(f, "Service")["DeploymentConfiguration"].pop("DeploymentCircuitBreaker"),
    ),
    Mutation(
        "a circuit breaker that does not roll back",
        service.failed_deployments_roll_back,
        lambda f: f.ecs[SERVICE]["deploymentConfiguration"]["deploymentCircuitBreaker"].update(rollback=False),
    ),
    Mutation(
        "a public address",
        service.tasks_are_private,
        lambda f: f.ecs[SERVICE]["networkConfiguration"]["awsvpcConfiguration"].update(assignPublicIp="ENABLED"),
    ),
    Mutation(
        "a service with the hosts' group",
        service.the_service_is_wired,
        lambda f: stack(f, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"].update(
            SecurityGroups=[{"Ref": "HostSecurityGroup"}]
        ),
    ),
    Mutation(
        "a task with the role that starts it",
        service.the_service_is_wired,
        lambda f: stack(f, "TaskDefinition").update(TaskRoleArn={"Fn::GetAtt": ["ExecutionRole", "Arn"]}),
    ),
    Mutation(
        "16 GiB on a host that has 16", service.memory_fits_the_host, lambda f: f.container().update(memory=16384)
    ),
    Mutation(
        "16 GiB by default, in the stack",
        service.memory_fits_the_host,
        lambda f: f.template["Parameters"]["TaskMemoryMiB"].update(Default=16384),
    ),
    Mutation("a hard limit of CPU", service.memory_fits_the_host, lambda f: f.ecs[TASK].update(cpu="4096")),
    Mutation("no GPU", service.the_task_has_a_gpu, lambda f: f.container().pop("resourceRequirements")),
    Mutation("Fargate", service.the_task_has_a_gpu, lambda f: f.ecs[TASK].update(requiresCompatibilities=["FARGATE"])),
    Mutation(
        "the stack's own repository only",
        service.the_image_can_be_pulled,
        lambda f: execution_statement(f, "PullTheImage").update(Resource={"Fn::GetAtt": ["Repository", "Arn"]}),
    ),
    Mutation(
        "another default in deploy",
        service.the_image_can_be_pulled,
        lambda f: f.template["Parameters"]["ImageRepositories"].update(Default="*"),
    ),
    Mutation(
        "an invented repository in the guide",
        service.the_image_can_be_pulled,
        lambda f: set_guide(f, "make deploy IMG=123456789012.dkr.ecr.ap-southeast-1.amazonaws.com/kvs-infer:20261124"),
    ),
    Mutation(
        "a task that is healthy before its models are there",
        service.health_check_is_the_programs,
        lambda f: f.stack_container()["HealthCheck"].update(Command=["CMD", "kvs-infer", "healthcheck"]),
    ),
    Mutation(
        "too short a start",
        service.health_check_is_the_programs,
        lambda f: f.container()["healthCheck"].update(startPeriod=120),
    ),
    Mutation(
        "no word of a missing model",
        service.missing_objects_are_seen,
        lambda f: stack_statement(f, "SeeWhatIsMissing").pop("Condition"),
    ),
    Mutation(
        "no word of a missing model, in the guide",
        service.missing_objects_are_seen,
        lambda f: f.ecs["iam-task-role"]["Statement"].remove(statement(f, "SeeWhatIsMissing")),
    ),
    Mutation(
        "video under one's own key",
        service.encrypted_video_can_be_read,
        lambda f: stack(f, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"].remove(
            conditional(f, "DecryptVideo")
        ),
    ),
    Mutation(
        "any use of the video's key",
        service.encrypted_video_can_be_read,
        lambda f: conditional(f, "DecryptVideo")["Fn::If"][1].pop("Condition"),
    ),
    Mutation(
        "health by curl",
        service.health_check_is_the_programs,
        lambda f: f.container()["healthCheck"].update(command=["CMD-SHELL", "curl -f localhost/healthz"]),
    ),
    Mutation(
        "a health check with less time than it waits",
        service.health_check_is_the_programs,
        lambda f: f.stack_container()["HealthCheck"].update(Timeout=2),
    ),
    Mutation(
        "a stop that kills what drains",
        service.stop_timeout_is_long_enough,
        lambda f: f.container().update(stopTimeout=10),
    ),
    Mutation(
        "another port", service.ports_agree, lambda f: f.stack_container()["PortMappings"][0].update(ContainerPort=80)
    ),
    Mutation(
        "models that can be written",
        service.folders_are_the_images,
        lambda f: f.container()["mountPoints"][1].update(readOnly=False),
    ),
    Mutation(
        "a folder that is never made",
        service.folders_are_the_images,
        lambda f: set_user_data(f, lambda text: without(text, "/opt/kvs-infer/models")),
    ),
    Mutation(
        "a root that can be written",
        service.tasks_can_do_little,
        lambda f: f.stack_container().update(ReadonlyRootFilesystem=False),
    ),
    Mutation(
        "Exec by default",
        service.tasks_can_do_little,
        lambda f: f.template["Parameters"]["EnableExec"].update(Default="true"),
    ),
    Mutation(
        "Exec by default, in the guide",
        service.tasks_can_do_little,
        lambda f: f.ecs[SERVICE].update(enableExecuteCommand=True),
    ),
    Mutation(
        "Exec's permissions by default, in the guide",
        service.tasks_can_do_little,
        lambda f: f.ecs["iam-task-role"]["Statement"].extend(f.ecs["iam-exec"]["Statement"]),
    ),
    Mutation(
        "a root that can be written, in the guide",
        service.tasks_can_do_little,
        lambda f: f.container().update(readonlyRootFilesystem=False),
    ),
    Mutation(
        "capabilities, in the guide",
        service.tasks_can_do_little,
        lambda f: f.container()["linuxParameters"].pop("capabilities"),
    ),
    Mutation(
        "new privileges, in the guide",
        service.tasks_can_do_little,
        lambda f: f.container().pop("dockerSecurityOptions"),
    ),
    Mutation(
        "a /tmp without limit, in the guide",
        service.tasks_can_do_little,
        lambda f: f.container()["linuxParameters"].pop("tmpfs"),
    ),
    Mutation(
        "a base image by its tag",
        service.foreign_images_are_by_digest,
        lambda f: setattr(f, "dockerfile", re.sub(r"slim@sha256:\w+", "slim", f.dockerfile)),
    ),
    Mutation(
        "a stage from elsewhere",
        service.foreign_images_are_by_digest,
        lambda f: setattr(f, "dockerfile", f.dockerfile + "\nFROM alpine:3 AS more\n"),
    ),
    Mutation(
        "monitoring by its tag",
        service.foreign_images_are_by_digest,
        lambda f: setattr(f, "compose", re.sub(r"v3.5.0@sha256:\w+", "v3.5.0", f.compose)),
    ),
    Mutation(
        "no bill of materials",
        service.foreign_images_are_by_digest,
        lambda f: setattr(f, "dockerfile", f.dockerfile.replace("sbom.json", "list.json")),
    ),
    Mutation(
        "latest, in the guide",
        service.the_images_of_tasks_are_by_digest,
        lambda f: f.container().update(image="r/kvs-infer:latest"),
    ),
    Mutation("logs for ever", service.logs_have_a_group, lambda f: stack(f, "Logs").pop("RetentionInDays")),
    Mutation(
        "another log group",
        service.logs_have_a_group,
        lambda f: f.container()["logConfiguration"]["options"].update({"awslogs-group": "/kvs"}),
    ),
    Mutation(
        "an image by tag",
        service.the_image_is_by_digest,
        lambda f: f.template["Parameters"]["ImageUri"].pop("AllowedPattern"),
    ),
    Mutation(
        "tags that move",
        service.the_image_is_by_digest,
        lambda f: stack(f, "Repository").update(ImageTagMutability="MUTABLE"),
    ),
    Mutation(
        "a missing permission",
        service.permissions_are_the_calls,
        lambda f: statement(f, "ReadCameras")["Action"].remove("kinesisvideo:GetMedia"),
    ),
    Mutation(
        "a missing permission, in the stack",
        service.permissions_are_the_calls,
        lambda f: stack_statement(f, "KeepRecordsAndPositions")["Action"].remove("dynamodb:UpdateItem"),
    ),
    Mutation(
        "a permission that nothing needs",
        service.permissions_are_the_calls,
        lambda f: statement(f, "PublishEvents")["Action"].append("kinesis:DeleteStream"),
    ),
    Mutation("a new call without its permission", service.permissions_are_the_calls, call_more),
    Mutation(
        "every bucket",
        service.permissions_name_their_resources,
        lambda f: statement(f, "StoreSnapshots").update(Resource="*"),
    ),
    Mutation(
        "a video stream without its creation time",
        service.permissions_name_their_resources,
        lambda f: statement(f, "ReadCameras").update(Resource="arn:aws:kinesisvideo:r:1:stream/camera*"),
    ),
    Mutation(
        "pictures without encryption",
        service.pictures_are_encrypted,
        lambda f: statement(f, "StoreSnapshots").pop("Condition"),
    ),
    Mutation(
        "trust of every account's tasks",
        service.trust_is_for_this_account,
        lambda f: f.ecs["task-trust-policy"]["Statement"][0].pop("Condition"),
    ),
    Mutation(
        "the image runs as root",
        service.the_image_is_as_the_tasks_want,
        lambda f: setattr(f, "dockerfile", without(f.dockerfile, "USER 10001:10001")),
    ),
    Mutation(
        "the image gets no libnvcuvid",
        service.the_image_is_as_the_tasks_want,
        lambda f: setattr(f, "dockerfile", f.dockerfile.replace("compute,utility,video", "compute,utility")),
    ),
]
