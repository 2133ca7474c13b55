"""Rules of the service, its task, and the roles."""

import re
from typing import Any

from checks.deployment import iam_actions
from checks.deployment.files import Files, constant_seconds, strings
from checks.deployment.planned_stack import PlannedStack
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import containers, lowered, referred, services
from checks.repository import bash_blocks
from checks.tables import expect

# A g4dn.xlarge has 16,384 MiB; its agent registers less. Source: the project's notes on ECS, 14,336 fits.
TASK_MEMORY_MIB = 14_336
PORT = 8080
# Statements that must be for everything: these actions know no resource.
FOR_EVERYTHING = {"SignInToTheRegistry", "Exec"}

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
def deployment_frees_the_gpu(files: Files) -> list[str]:
    """0 and 100 % of one task: it must end before the new one has a GPU; zones cannot be balanced then."""
    found = []
    alone = {"the stack's Service": PlannedStack(files).properties("Service")}
    for name, service in (services(files) | alone).items():
        service = lowered(service)
        percent = service.get("deploymentConfiguration", {})
        pair = (percent.get("minimumHealthyPercent"), percent.get("maximumPercent"))
        found += expect(pair == (0, 100), f"{name}: {pair[0]}/{pair[1]} % needs a second GPU for each deployment")
        found += expect(
            service.get("availabilityZoneRebalancing") == "DISABLED", f"{name}: zone rebalancing needs more than 100 %"
        )
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


@rule
def the_service_is_wired(files: Files) -> list[str]:
    """The stack's service and task name what the stack makes; moto's CloudFormation leaves these out."""
    network, task = (
        files.properties("Service")["NetworkConfiguration"]["AwsvpcConfiguration"],
        files.properties("TaskDefinition"),
    )
    found = expect(
        [referred(item) for item in network["SecurityGroups"]] == ["TaskSecurityGroup"],
        "the service has not its own group",
    )
    found += expect("PrivateSubnet1" in str(network["Subnets"]), "the service is not in the private subnets")
    roles = [referred(task[key]) for key in ("TaskRoleArn", "ExecutionRoleArn")]
    return found + expect(roles == ["TaskRole", "ExecutionRole"], f"the task has the roles {roles}")


# --- the task -------------------------------------------------------------------------------------------------------


@rule
def memory_fits_the_host(files: Files) -> list[str]:
    """The container's memory fits a g4dn.xlarge, and the task itself has no limits."""
    default = files.template["Parameters"]["TaskMemoryMiB"]["Default"]
    memory = {"ecs-task-def.json": files.container().get("memory", 0), "TaskMemoryMiB": default}
    found = [
        f"{name}: {mib} MiB never fits a g4dn.xlarge (at most {TASK_MEMORY_MIB})"
        for name, mib in memory.items()
        if not 0 < mib <= TASK_MEMORY_MIB
    ]
    for name, task in {
        "ecs-task-def.json": files.ecs["ecs-task-def"],
        "the stack's": files.properties("TaskDefinition"),
    }.items():
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
    """`kvs-infer healthcheck --ready`, with more time than it takes itself, and ECS's longest start, for the models."""
    own = re.search(
        r"default_value_t = (\d+)[^\n]*\)\]\s*\n\s*pub timeout_seconds", files.rust["src/cli/healthcheck.rs"]
    )
    found = expect(own is not None, "src/cli/healthcheck.rs: the default of timeout_seconds was not found")
    for name, container in containers(files).items():
        check = lowered(container).get("healthCheck", {})
        wanted = ["CMD", "kvs-infer", "healthcheck", "--ready"]
        found += expect(
            check.get("command") == wanted,
            f"{name}: the health check is not `{' '.join(wanted[1:])}`: a task is healthy before it works",
        )
        found += expect(check.get("startPeriod") == 300, f"{name}: startPeriod is not 300 s, the most that ECS gives")
        limit = check.get("timeout", 0)
        found += expect(
            own is None or limit > int(own[1]), f"{name}: the health check has {limit} s, less than it waits itself"
        )
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
        port = next((item["value"] for item in container["environment"] if item.get("name") == "HTTP_PORT"), None)
        found += expect(port == str(PORT), f"{name}: HTTP_PORT is {port}")
    return found


@rule
def folders_are_the_images(files: Files) -> list[str]:
    """The guide's three host folders at the image's places, config and models read-only, and made at boot."""
    task = files.ecs["ecs-task-def"]
    host = {volume["name"]: volume["host"]["sourcePath"] for volume in task["volumes"]}
    mounted = {
        (host.get(at["sourceVolume"]), at["containerPath"], at["readOnly"]) for at in files.container()["mountPoints"]
    }
    wanted = {
        ("/opt/kvs-infer/config", "/app/config", True),
        ("/opt/kvs-infer/models", "/app/models", True),
        ("/opt/kvs-infer/cache", "/app/.cache", False),
    }
    found = expect(
        mounted == wanted, f"ecs-task-def.json: mounts {sorted(mounted - wanted)}, lacks {sorted(wanted - mounted)}"
    )
    made = [path for path in host.values() if path not in files.user_data]
    return found + expect(not made, f"user-data.sh does not make {made}")


@rule
def the_image_is_as_the_tasks_want(files: Files) -> list[str]:
    """The Dockerfile makes the mounted folders for the user of the task, and has the port and the health check."""
    wanted = {
        "EXPOSE 8080": "the port",
        "USER 10001:10001": "the user",
        'CMD ["kvs-infer", "healthcheck"]': "the health check",
        "-o 10001 -g 10001 /app /app/config /app/models /app/.cache": "the folders",
        "KVS_INFER_CACHE=/app/.cache": "the cache",
        "ARG VARIANT=gpu": "the variant of a plain docker build",
        'ENTRYPOINT ["tini", "--", "kvs-infer"]': "the program",
        "--enable-ffnvcodec --enable-nvdec --enable-hwaccel=h264_nvdec,hevc_nvdec": "FFmpeg's NVDEC",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video": "the driver's parts, with those that decode",
    }
    return [f"Dockerfile: {what} is not `{line}`" for line, what in wanted.items() if line not in files.dockerfile]


@rule
def tasks_can_do_little(files: Files) -> list[str]:
    """Read-only root, a small /tmp, no capabilities or new privileges, user 10001; no Exec, which needs them."""
    found = []
    for name, container in containers(files).items():
        container = lowered(container)
        found += expect(plain(container.get("readonlyRootFilesystem")) is True, f"{name}: the root can be written")
        found += expect(container.get("user") == "10001", f"{name}: does not run as 10001")
        linux = container.get("linuxParameters", {})
        found += expect(plain(linux.get("capabilities")) == {"drop": ["ALL"]}, f"{name}: keeps capabilities")
        found += expect(
            plain(container.get("dockerSecurityOptions")) == ["no-new-privileges"], f"{name}: may gain privileges"
        )
        tmp = [
            (item["containerPath"], item["size"], "noexec" in item["mountOptions"]) for item in linux.get("tmpfs", [])
        ]
        found += expect(tmp == [("/tmp", 64, True)], f"{name}: /tmp is not limited: {tmp}")
    found += expect(files.template["Parameters"]["EnableExec"]["Default"] == "false", "EnableExec is on by default")
    found += expect(files.ecs["ecs-service"].get("enableExecuteCommand") is False, "ecs-service.json: Exec is on")
    return found + expect(
        "ssmmessages" not in str(files.ecs["iam-task-role"]),
        "iam-task-role.json: has the permissions of Exec; they are in iam-exec.json",
    )


def plain(value: Any) -> Any:
    """Returns a property without Exec: the second half of its condition, whose keys were lowered."""
    return value["fn::If"][2] if isinstance(value, dict) and "fn::If" in value else value


@rule
def foreign_images_are_by_digest(files: Files) -> list[str]:
    """Base images and those of the monitoring are by digest; a stage comes from a base or an earlier stage."""
    named = {
        "Dockerfile": re.findall(r"docker\.io/\S+", files.dockerfile),
        "compose.yaml": re.findall(r"image: (\S+)", files.compose),
    }
    found = [
        f"{name}: {image} is not by digest"
        for name, images in named.items()
        for image in images
        if not re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image)
    ]
    stages = (
        set(re.findall(r"^FROM \S+ AS (\S+)$", files.dockerfile, re.MULTILINE))
        | {"image-${VARIANT}"}
        | set(named["Dockerfile"])
    )
    others = [stage for stage in re.findall(r"^FROM (\S+)", files.dockerfile, re.MULTILINE) if stage not in stages]
    found += expect(all(named.values()) and not others, f"Dockerfile: from {others}")
    return found + expect(
        "/usr/share/doc/kvs-infer/sbom.json" in files.dockerfile, "the image does not say what it is made of"
    )


@rule
def the_images_of_tasks_are_by_digest(files: Files) -> list[str]:
    """No task definition has a tag that can be moved."""
    image = files.container()["image"]
    return expect(image.endswith("@${IMAGE_DIGEST}"), f"ecs-task-def.json: the image {image} is not by digest")


@rule
def logs_have_a_group(files: Files) -> list[str]:
    """The group is made (by the stack; by the document before the service), with a retention."""
    group = lowered(files.container())["logConfiguration"]["options"]["awslogs-group"]
    found = expect(group == "/ecs/kvs-infer", f"ecs-task-def.json: log group {group}")
    found += expect("RetentionInDays" in files.properties("Logs"), "the stack's log group keeps everything for ever")
    options = files.stack_container()["LogConfiguration"]["Options"]
    found += expect(
        referred(options["awslogs-group"]) == "Logs", "the stack's task logs to a group that the stack does not make"
    )
    script = "\n".join(text for _, text in bash_blocks(files.guide))
    made, service = script.find("create-log-group"), script.find("ecs create-service")
    return found + expect(not script or 0 <= made < service, "docs/deploy.md: no log group before the service")


@rule
def the_image_is_by_digest(files: Files) -> list[str]:
    """The stack takes an image by digest only, and tags cannot be moved."""
    pattern = files.template["Parameters"]["ImageUri"].get("AllowedPattern", "")
    tagged, digest = "r/kvs-infer:latest", "r/kvs-infer@sha256:" + "0" * 64
    found = expect(
        bool(re.fullmatch(pattern, digest)) and not re.fullmatch(pattern, tagged), "ImageUri takes an image by tag"
    )
    return found + expect(
        files.properties("Repository").get("ImageTagMutability") == "IMMUTABLE", "the repository's tags can be moved"
    )


@rule
def the_image_can_be_pulled(files: Files) -> list[str]:
    """The execution role covers the stack's own repository and those of the parameter, which deploy checks first."""
    listed = files.properties("ExecutionRole")["Policies"][0]["PolicyDocument"]["Statement"]
    pulls = next(item for item in listed if item.get("Sid") == "PullTheImage")
    wanted = "arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/${ImageRepositories}"
    found = expect(
        {"Fn::Sub": wanted} in strings_and_functions(pulls["Resource"]),
        "the task may pull from the stack's own repository only",
    )
    default = files.template["Parameters"]["ImageRepositories"]["Default"]
    found += expect(
        default == "kvs-infer*" and f"ImageRepositories '{default}'" in files.deploy,
        "deploy and the stack have another default of ImageRepositories",
    )
    invented = re.findall(r"dkr\.ecr\.[\w.-]+/kvs-infer[:@]", "\n".join(text for _, text in bash_blocks(files.guide)))
    return found + expect(
        not invented, "docs/deploy.md: an image of a repository that no stack makes; use the stack's RepositoryUri"
    )


def strings_and_functions(value: object) -> list[object]:
    """The items of a list."""
    return value if isinstance(value, list) else [value]


# --- roles ----------------------------------------------------------------------------------------------------------


@rule
def permissions_are_the_calls(files: Files) -> list[str]:
    """The task role allows what the program calls, and what is more has its reason."""
    return iam_actions.complaints(files)


@rule
def permissions_name_their_resources(files: Files) -> list[str]:
    """`*` only where an action knows no resource; streams of KVS by prefix and with their creation time."""
    policies = dict(iam_actions.task_policies(files))
    policies["iam-execution-role.json"] = files.ecs["iam-execution-role"]
    policies["the stack's ExecutionRole"] = files.properties("ExecutionRole")["Policies"][0]["PolicyDocument"]
    found = []
    for name, policy in policies.items():
        for statement in iam_actions.statements(policy):
            wide = statement["Resource"] == "*" and statement["Sid"] not in FOR_EVERYTHING
            found += expect(not wide, f"{name}: {statement['Sid']} is for every resource")
            if statement["Sid"] == "ReadCameras":
                found += expect(
                    strings(statement["Resource"])[0].endswith("*/*"),
                    f"{name}: the ARN of a video stream ends in /<creation time>",
                )
    return found


@rule
def missing_objects_are_seen(files: Files) -> list[str]:
    """S3 answers 404 for a missing object only to those who may list its prefix; others get 403, and wrong advice."""
    found = []
    for name, policy in iam_actions.task_policies(files).items():
        lists = [item for item in iam_actions.statements(policy) if "s3:ListBucket" in strings(item["Action"])]
        prefixes = [strings(item.get("Condition", {}).get("StringLike", {}).get("s3:prefix")) for item in lists]
        snapshots = "${S3Prefix}/*" if "stack" in name else "${S3_PREFIX}/*"
        found += expect(
            prefixes == [["config/*", "models/*", snapshots]],
            f"{name}: s3:ListBucket is not for config/*, models/* and the snapshots: {prefixes}",
        )
    return found


@rule
def encrypted_video_can_be_read(files: Files) -> list[str]:
    """Streams under a key of one's own: kms:Decrypt on the keys of the parameter, by Kinesis Video Streams only."""
    listed = iam_actions.statements(files.properties("TaskRole")["Policies"][0]["PolicyDocument"])
    decrypts = next((item for item in listed if item.get("Sid") == "DecryptVideo"), {})
    found = expect("KvsKeyArns" in str(decrypts.get("Resource")), "no kms:Decrypt on KvsKeyArns")
    return found + expect(
        "kinesisvideo." in str(decrypts.get("Condition")), "kms:Decrypt is not limited to Kinesis Video Streams"
    )


@rule
def pictures_are_encrypted(files: Files) -> list[str]:
    """A put without the encryption header is refused; the program always sends it."""
    found = []
    for name, policy in iam_actions.task_policies(files).items():
        puts = [item for item in iam_actions.statements(policy) if "s3:PutObject" in strings(item["Action"])]
        found += expect(
            all("s3:x-amz-server-side-encryption" in str(item.get("Condition")) for item in puts),
            f"{name}: s3:PutObject without the condition on encryption",
        )
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
        found += expect(
            "aws:SourceAccount" in condition and "aws:SourceArn" in condition,
            f"{name}: no aws:SourceAccount or aws:SourceArn",
        )
    return found
