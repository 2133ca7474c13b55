"""The AWS actions that the program calls, derived from its sources, and those that its role allows."""

import re
from pathlib import PurePosixPath
from typing import Any

import botocore.session
from botocore import xform_name

from checks.deployment.files import Files
from checks.deployment.planned_stack import PlannedStack
from checks.repository import ROOT

# An SDK crate, its service in botocore (whose operations are known by that), the prefix of its IAM actions.
SERVICES = {
    "kinesisvideo": ("kinesisvideo", "kinesisvideo"),
    "kinesisvideomedia": ("kinesis-video-media", "kinesisvideo"),
    "kinesisvideoarchivedmedia": ("kinesis-video-archived-media", "kinesisvideo"),
    "kinesis": ("kinesis", "kinesis"),
    "s3": ("s3", "s3"),
    "dynamodb": ("dynamodb", "dynamodb"),
    "sns": ("sns", "sns"),
    "sts": ("sts", "sts"),
}
# Sources whose calls are made with other credentials than the task's, and why. Those that they make through other
# sources (src/source, which the task uses as well) count.
NOT_THE_TASKS = {
    "src/cli/events/": "`kvs-infer events` is run by a person, with a role that may read the stream",
    "src/cli/replay/": "`kvs-infer replay` is run by a person, with a role that may read streams, table and stream",
    "src/replay/": "the same",
}
# Operations that are allowed by the action of another name. Source: Service Authorization Reference, 2026-11.
ALLOWED_BY = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
}
# Sources whose calls only workers make that share the cameras.
OF_SHARING = "src/sharing/"
# Calls that need no policy.
FREE = {"sts:GetCallerIdentity"}
# What the task role allows and the program does not call itself, and why.
BESIDES = {
    "ssmmessages:CreateControlChannel": "ECS Exec",
    "ssmmessages:CreateDataChannel": "ECS Exec",
    "ssmmessages:OpenControlChannel": "ECS Exec",
    "ssmmessages:OpenDataChannel": "ECS Exec",
    "kms:Decrypt": "S3 and Kinesis Video Streams ask it of the role that reads what is under a key of one's own",
    "s3:ListBucket": "without it S3 answers 403 for an object that is not there, such as a snapshot that was deleted",
    "kms:GenerateDataKey": "S3 asks it of the role that writes an object under a key of one's own",
}


def crates() -> list[str]:
    """The AWS SDK crates of Cargo.toml, without their prefix."""
    return re.findall(r"^aws-sdk-([a-z0-9]+) =", (ROOT / "Cargo.toml").read_text(), re.MULTILINE)


def operations(crate: str) -> dict[str, str]:
    """The operations of a crate: the Rust method and its IAM action."""
    service, prefix = SERVICES[crate]
    names = botocore.session.get_session().get_service_model(service).operation_names
    actions = {xform_name(name): f"{prefix}:{name}" for name in names}
    return {method: ALLOWED_BY.get(action, action) for method, action in actions.items()}


def mentioned(rust: dict[str, str], names: list[str]) -> dict[str, set[str]]:
    """For each file the SDK crates that it names; where it names none, those of its folder."""
    own = {path: {name for name in names if f"aws_sdk_{name}::" in text} for path, text in rust.items()}
    folders: dict[str, set[str]] = {}
    for path, found in own.items():
        folders.setdefault(str(PurePosixPath(path).parent), set()).update(found)
    return {path: found or folders[str(PurePosixPath(path).parent)] for path, found in own.items()}


def called(rust: dict[str, str], shares: bool) -> dict[str, str]:
    """The actions that the sources call, of one task or of workers that share, each with a file that does."""
    names = crates()
    known = {name: operations(name) for name in names}
    others = (*NOT_THE_TASKS, *(() if shares else (OF_SHARING,)))
    found: dict[str, str] = {}
    for path, here in mentioned(rust, names).items():
        if path.startswith(others):
            continue
        for method in set(re.findall(r"\.\s*([a-z0-9_]+)\(\)", rust[path])):
            for name in here:
                if method in known[name]:
                    found.setdefault(known[name][method], path)
    return found


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy; of one under a condition that which is added."""
    listed = document["Statement"]
    return [item["Fn::If"][1] if "Fn::If" in item else item for item in listed]


def allowed(document: dict[str, Any]) -> set[str]:
    """The actions of a policy."""
    actions = [statement["Action"] for statement in statements(document)]
    return {name for item in actions for name in ([item] if isinstance(item, str) else item)}


def task_policies(files: Files) -> dict[str, dict[str, Any]]:
    """The policies of the task role, as the guide attaches them and as the stack has them, for several workers too."""
    stack = files.properties("TaskRole")["Policies"][0]["PolicyDocument"]
    by_hand = {"Statement": files.ecs["iam-task-role"]["Statement"] + files.ecs["iam-sharing"]["Statement"]}
    return {"iam-task-role.json, iam-sharing.json": by_hand, "the stack's TaskRole": stack}


def policies_of_one_task(files: Files) -> dict[str, dict[str, Any]]:
    """The same of one task that shares nothing."""
    stack = PlannedStack(files).properties("TaskRole")["Policies"][0]["PolicyDocument"]
    return {"iam-task-role.json": files.ecs["iam-task-role"], "the TaskRole of one task": stack}


def complaints(files: Files) -> list[str]:
    """Calls that a policy does not allow, and permissions that nothing needs."""
    unknown = [
        f"Cargo.toml: aws-sdk-{name} is not known to checks/deployment/iam_actions.py"
        for name in crates()
        if name not in SERVICES
    ]
    if unknown:
        return unknown
    found = []
    for shares, policies in ((True, task_policies(files)), (False, policies_of_one_task(files))):
        calls = called(files.rust, shares)
        for name, policy in policies.items():
            has, more = allowed(policy), BESIDES.keys()
            found += [f"{name} does not allow {call}, which {calls[call]} calls" for call in calls.keys() - has - FREE]
            found += [f"{name} allows {action}, which nothing calls" for action in has - calls.keys() - more]
    return sorted(found)
