"""Edits of a copy of the files, from which the mistakes are made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from checks.deployment.files import Files
from checks.deployment.rules.registry import Rule

SERVICE, TASK = "ecs-service", "ecs-task-def"


@dataclass(frozen=True)
class Mutation:
    """A mistake in the files, and the rule that must catch it."""

    name: str
    rule: Rule
    spoil: Callable[[Files], object]


def stack(files: Files, resource: str) -> dict[str, Any]:
    """The properties of a resource of the stack."""
    return files.template["Resources"][resource]["Properties"]


def hosts_data(files: Files) -> dict[str, Any]:
    """The launch template's data."""
    return stack(files, "LaunchTemplate")["LaunchTemplateData"]


def statement(files: Files, sid: str) -> dict[str, Any]:
    """A statement of iam-task-role.json."""
    return next(item for item in files.ecs["iam-task-role"]["Statement"] if item["Sid"] == sid)


def sharing_statement(files: Files, sid: str) -> dict[str, Any]:
    """A statement of iam-sharing.json."""
    return next(item for item in files.ecs["iam-sharing"]["Statement"] if item["Sid"] == sid)


def stack_statement(files: Files, sid: str) -> dict[str, Any]:
    """A statement of the stack's task role."""
    listed = stack(files, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item.get("Sid") == sid)


def conditional(files: Files, sid: str) -> dict[str, Any]:
    """A statement of the stack's task role that is there on a condition, as it stands there."""
    listed = stack(files, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if "Fn::If" in item and item["Fn::If"][1]["Sid"] == sid)


def execution_statement(files: Files, sid: str) -> dict[str, Any]:
    """A statement of the stack's execution role."""
    listed = stack(files, "ExecutionRole")["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item.get("Sid") == sid)


def github_policy(files: Files, role: str, sid: str) -> dict[str, Any]:
    """A statement of a role of github.yaml."""
    listed = files.github["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return next(item for item in listed if item["Sid"] == sid)


def github_trust(files: Files, role: str) -> dict[str, Any]:
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


def call_archive(files: Files) -> None:
    """A new stage asks the archive for a clip."""
    files.rust["src/clips/new.rs"] = "fn f(c: &aws_sdk_kinesisvideoarchivedmedia::Client) { c.get_clip() }\n"


def set_dashboard(files: Files, old: str, new: str) -> None:
    """Changes the text of the dashboard."""
    template = stack(files, "Dashboard")["DashboardBody"]["Fn::Sub"]
    template[0] = template[0].replace(old, new)


def set_guide(files: Files, text: str) -> None:
    """Adds a bash block to the guide."""
    files.guide += f"\n```bash\n{text}\n```\n"


def add_to_long_way(files: Files, text: str) -> None:
    """Adds a bash block to the end of the guide's long way."""
    files.guide = files.guide.replace("\n## Networking", f"\n```bash\n{text}\n```\n\n## Networking")
