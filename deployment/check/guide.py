"""Runs the long way of docs/deploy.md against a local AWS: its own bash blocks, in order, each in the shell that the last one left."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_aws import LocalAws, local_aws
from sources import ROOT, Files, chapter, load, bash_blocks
from stand_in import LACKING

Result = tuple[str, list[str]]
CHAPTER = "The long way"
# Variables and functions of a block are there for the next one, as in one shell.
SHELL = """
set -euo pipefail
[ ! -e "$STATE" ] || source "$STATE"
{block}
{{ declare -px | grep -E '^declare -x [A-Z][A-Z0-9_]+=' | grep -vE ' (PATH|CALLS|STATE|REAL_AWS)='; declare -f; }} >"$STATE"
"""


def network(aws: LocalAws) -> dict[str, str]:
    """The document's names of a network, and what stands for them here: the default VPC, whose subnets are on its main route table."""
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [item["SubnetId"] for item in ec2.describe_subnets()["Subnets"]]
    names = ("vpc-0123456789abcdef0", "subnet-0123456789abcdef0", "subnet-0123456789abcdef1")
    return dict(zip(names, (vpc, subnets[0], subnets[1])))


def workplace(aws: LocalAws) -> Path:
    """A folder like the project's root, with the configuration and the model that the reader has by then."""
    folder = aws.folder / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "deployment").symlink_to(ROOT / "deployment")
    shutil.copy(ROOT / "config/cameras.example.yaml", folder / "cameras.yaml")
    (folder / "models/street.onnx").write_bytes(b"a model")
    return folder


def put_in(block: str, names: dict[str, str]) -> str:
    """The block with this network's names."""
    for name, value in names.items():
        block = block.replace(name, value)
    return block


def run_blocks(aws: LocalAws, blocks: list[tuple[str, str]]) -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Runs each block; its heading, what went wrong, and its calls. Ends with the first that fails, since the rest builds on it."""
    names, folder, state = network(aws), workplace(aws), str(aws.folder / "state")
    for heading, block in blocks:
        ran = aws.bash(SHELL.format(block=put_in(block, names)), folder, STATE=state)
        calls = aws.calls()
        found = [f"{call['program']} {call['what']}: {call.get('error', '')}" for call in calls if call["code"]]
        if ran.returncode and not found:
            found = [ran.stderr.strip()[-500:] or f"exit code {ran.returncode}"]
        yield heading, found, calls
        if found:
            return


def described(calls: list[dict[str, Any]]) -> str:
    """The calls of a block, by program: those run, those lacking."""
    ran = [call["what"] for call in calls if call["program"] == "aws" and not call.get("lacking")]
    lacking = [call["what"] for call in calls if call.get("lacking")]
    others = [f"{call['program']} {call['what']}" for call in calls if call["program"] != "aws"]
    parts = [f"{len(ran)} commands of aws ran" if ran else "", f"lacking: {', '.join(lacking)}" if lacking else ""]
    parts.append(f"not run here: {', '.join(others)}" if others else "")
    return "; ".join(part for part in parts if part) or "no command of aws"


def results() -> Iterator[Result]:
    """Each block, what is lacking, then what the document has made."""
    files = load()
    blocks = bash_blocks(chapter(files.guide, CHAPTER))
    yield "docs/deploy.md has the long way", [] if len(blocks) > 10 else [f"{len(blocks)} bash blocks under {CHAPTER!r}"]
    with local_aws() as aws:
        lacking, done = set(), 0
        for heading, found, calls in run_blocks(aws, blocks):
            lacking |= {call["what"] for call in calls if call.get("lacking")}
            done += 1
            yield f"{heading}: {described(calls)}", found
        yield f"{done} of {len(blocks)} blocks ran", [] if done == len(blocks) else ["the rest was not reached"]
        if found:
            return
        for what in sorted(lacking):
            yield f"lacking here: aws {what}: {LACKING[what][1]} ({LACKING[what][0]})", []
        yield "each command of the list of what is lacking is used", [f"{what} is not" for what in sorted(LACKING.keys() - lacking)]
        yield from made(aws, files)


def made(aws: LocalAws, files: Files) -> Iterator[Result]:
    """What stands there after the last block."""
    yield "alarms are the stack's", alarms_differ(aws, files)
    yield "hosts boot with the cluster's and the bucket's names", boot_complaints(aws)
    yield "the service has one task, of the task definition", service_complaints(aws)
    yield "endpoints let tasks and hosts in", endpoint_complaints(aws)
    yield "groups let 443 out and nothing else", egress_complaints(aws)
    yield "the task definition has the image by digest and no placeholder", task_complaints(aws)


def differing(name: str, has: object, wanted: object) -> list[str]:
    """A complaint, unless both are the same."""
    return [] if has == wanted else [f"{name}: {has}, not {wanted}"]


ALARM = ("Namespace", "MetricName", "Statistic", "ComparisonOperator", "Period", "EvaluationPeriods", "TreatMissingData")


def alarms_differ(aws: LocalAws, files: Files) -> list[str]:
    """The document's alarms by hand against those of the template."""
    template = files.resources("AWS::CloudWatch::Alarm")
    wanted = {name.removesuffix("Alarm"): [item["Properties"][key] for key in ALARM] for name, item in template.items()}
    thresholds = {name.removesuffix("Alarm"): item["Properties"]["Threshold"] for name, item in template.items()}
    default = {"Ref": "MaxLagSeconds"}, files.template["Parameters"]["MaxLagSeconds"]["Default"]
    found = []
    alarms = {item["AlarmName"].removeprefix("kvs-infer-service-"): item for item in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]}
    found += differing("alarms", sorted(alarms), sorted(wanted))
    for name in alarms.keys() & wanted.keys():
        found += differing(name, [alarms[name][key] for key in ALARM], wanted[name])
        limit = default[1] if thresholds[name] == default[0] else thresholds[name]
        found += differing(f"{name}: threshold", alarms[name]["Threshold"], limit)
        found += differing(f"{name}: actions", len(alarms[name]["AlarmActions"] + alarms[name]["OKActions"]), 2)
    return found


def boot_complaints(aws: LocalAws) -> list[str]:
    """The user data in the launch template: as a host gets it."""
    import base64

    versions = aws.client("ec2").describe_launch_template_versions(LaunchTemplateName="kvs-infer-gpu-template")
    script = base64.b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()
    found = [] if "${" not in script else ["a placeholder is left in the user data"]
    return found + [f"{line!r} is not in the user data" for line in ('cluster="kvs-infer-cluster"', 'bucket="kvs-inference-snapshots-') if line not in script]


def service_complaints(aws: LocalAws) -> list[str]:
    """The service as it was made; moto keeps no percents and no strategy, which the rules over the files cover."""
    service = aws.client("ecs").describe_services(cluster="kvs-infer-cluster", services=["kvs-infer-service"])["services"][0]
    found = differing("desiredCount", service["desiredCount"], 1)
    found += differing("task definition", service["taskDefinition"].rsplit("/")[-1].split(":")[0], "kvs-infer-gpu")
    return found + differing("public address", service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "DISABLED")


def endpoint_complaints(aws: LocalAws) -> list[str]:
    """The endpoints, and who their group lets in."""
    ec2 = aws.client("ec2")
    groups = {item["GroupName"]: item for item in ec2.describe_security_groups()["SecurityGroups"]}
    own = groups["kvs-infer-endpoint-sg"]
    sources = {pair["GroupId"] for rule in own["IpPermissions"] if rule["FromPort"] == 443 for pair in rule["UserIdGroupPairs"]}
    found = differing("let in", sources, {groups[name]["GroupId"] for name in ("kvs-infer-ecs-sg", "kvs-infer-host-sg")})
    for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]:
        name = endpoint["ServiceName"]
        if endpoint["VpcEndpointType"] == "Interface":
            found += differing(f"{name}: group", [item["GroupId"] for item in endpoint["Groups"]], [own["GroupId"]])
        else:
            found += [] if endpoint["RouteTableIds"] else [f"{name}: no route table"]
    return found


def egress_complaints(aws: LocalAws) -> list[str]:
    """What the groups of tasks and hosts let out."""
    found = []
    for group in aws.client("ec2").describe_security_groups()["SecurityGroups"]:
        if group["GroupName"] in ("kvs-infer-ecs-sg", "kvs-infer-host-sg"):
            out = [(rule.get("FromPort"), rule.get("ToPort")) for rule in group["IpPermissionsEgress"]]
            found += differing(f"{group['GroupName']} out", out, [(443, 443)])
            found += differing(f"{group['GroupName']} in", group["IpPermissions"], [])
    return found


def task_complaints(aws: LocalAws) -> list[str]:
    """The task definition as it was registered."""
    task = aws.client("ecs").describe_task_definition(taskDefinition="kvs-infer-gpu")["taskDefinition"]
    image = task["containerDefinitions"][0]["image"]
    found = [] if "@sha256:" in image else [f"image {image}"]
    return found + (["a placeholder is left"] if "${" in json.dumps(task, default=str) else [])
