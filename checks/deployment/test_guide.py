"""Runs the long way of docs/deploy.md against a local AWS: its bash blocks in order, as in one shell."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checks.deployment.files import load
from checks.deployment.local_aws import LocalAws, local_aws
from checks.deployment.recorded_program import LACKING
from checks.repository import ROOT, bash_blocks, chapter
from checks.tables import assert_none, differing, expect, rows

CHAPTER = "The long way"
FILES = load()
BLOCKS = bash_blocks(chapter(FILES.guide, CHAPTER))
# Variables and functions of a block are there for the next one, as in one shell.
SHELL = """
set -euo pipefail
[ ! -e "$STATE" ] || source "$STATE"
{block}
own=' (PATH|CALLS|STATE|REAL_AWS)='
{{ declare -px | grep -E '^declare -x [A-Z][A-Z0-9_]+=' | grep -vE "$own"; declare -f; }} >"$STATE"
"""


def names_of_network(aws: LocalAws) -> dict[str, str]:
    """Returns the document's names of a network, each with its counterpart of the default VPC."""
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [item["SubnetId"] for item in ec2.describe_subnets()["Subnets"]]
    names = ("vpc-0123456789abcdef0", "subnet-0123456789abcdef0", "subnet-0123456789abcdef1")
    return dict(zip(names, (vpc, *subnets[:2]), strict=True))


def workplace(aws: LocalAws) -> Path:
    """Returns a folder like the project's root, with the configuration and the model that the reader has by then."""
    folder = aws.folder / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "deployment").symlink_to(ROOT / "deployment")
    shutil.copy(ROOT / "config/cameras.example.yaml", folder / "cameras.yaml")
    (folder / "models/street.onnx").write_bytes(b"a model")
    return folder


def put_in(block: str, names: dict[str, str]) -> str:
    """Returns the block with this network's names."""
    for name, value in names.items():
        block = block.replace(name, value)
    return block


class Guide:
    """The long way on a local AWS, as far as it has been followed."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.names, self.folder = names_of_network(aws), workplace(aws)
        self.complaints: list[list[str]] = []
        self.lacking: set[str] = set()

    def follow(self, place: int) -> None:
        """Runs the blocks up to this one, or to the first that fails, since the rest builds on it."""
        while len(self.complaints) <= place and not any(self.complaints):
            _, block = BLOCKS[len(self.complaints)]
            self.complaints.append(self.run(block))

    def run(self, block: str) -> list[str]:
        """Runs a block, and returns what went wrong."""
        script = SHELL.format(block=put_in(block, self.names))
        ran = self.aws.bash(script, self.folder, STATE=str(self.aws.folder / "state"))
        calls = self.aws.calls()
        self.lacking |= {call["what"] for call in calls if call.get("lacking")}
        found = [f"{call['program']} {call['what']}: {call.get('error', '')}" for call in calls if call["code"]]
        if ran.returncode and not found:
            found = [ran.stderr.strip()[-500:] or f"exit code {ran.returncode}"]
        return found


@pytest.fixture(scope="module")
def guide() -> Iterator[Guide]:
    """Begins the guide on a local AWS."""
    with local_aws() as aws:
        yield Guide(aws)


@pytest.fixture(scope="module")
def followed(guide: Guide) -> Guide:
    """Follows the guide to its last block."""
    guide.follow(len(BLOCKS) - 1)
    failed = len(guide.complaints) - 1
    assert not any(guide.complaints), f"the guide ends with a failure under {BLOCKS[failed][0]!r}"
    return guide


@pytest.fixture(scope="module")
def aws(followed: Guide) -> LocalAws:
    """Returns the local AWS after the last block."""
    return followed.aws


def test_the_document_has_the_long_way() -> None:
    assert len(BLOCKS) > 10, f"{len(BLOCKS)} bash blocks under {CHAPTER!r}"


@pytest.mark.parametrize("place", rows((heading, place) for place, (heading, _) in enumerate(BLOCKS)))
def test_block(guide: Guide, place: int) -> None:
    guide.follow(place)
    assert place < len(guide.complaints), "not reached: a block before it failed"
    assert_none(guide.complaints[place])


def test_all_blocks_ran(followed: Guide) -> None:
    assert len(followed.complaints) == len(BLOCKS)


@pytest.mark.parametrize("command", LACKING)
def test_a_command_that_is_lacking_here_is_used(followed: Guide, command: str) -> None:
    assert command in followed.lacking, f"no block calls aws {command}, or it is not lacking any more"


def test_nothing_else_is_lacking(followed: Guide) -> None:
    assert followed.lacking <= LACKING.keys()


# --- the resources after the last block ------------------------------------------------------------------------------

COMPARED = (
    "Namespace",
    "MetricName",
    "Statistic",
    "ComparisonOperator",
    "Period",
    "EvaluationPeriods",
    "TreatMissingData",
)
TEMPLATE_ALARMS = {
    name.removesuffix("Alarm"): item["Properties"] for name, item in FILES.resources("AWS::CloudWatch::Alarm").items()
}


@pytest.fixture(scope="module")
def alarms(aws: LocalAws) -> dict[str, dict[str, Any]]:
    """Returns the alarms that the document makes, by the names of the template, without those of the scaling policy."""
    described = aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="kvs-infer-service-")["MetricAlarms"]
    return {item["AlarmName"].removeprefix("kvs-infer-service-"): item for item in described}


def test_the_alarms_have_the_names_of_the_template(alarms: dict[str, dict[str, Any]]) -> None:
    assert sorted(alarms) == sorted(TEMPLATE_ALARMS)


@pytest.mark.parametrize("name", TEMPLATE_ALARMS)
def test_the_alarm_is_that_of_the_template(alarms: dict[str, dict[str, Any]], name: str) -> None:
    has, wanted = alarms[name], TEMPLATE_ALARMS[name]
    limit = wanted["Threshold"]
    if limit == {"Ref": "MaxLagSeconds"}:
        limit = FILES.template["Parameters"]["MaxLagSeconds"]["Default"]
    found = differing(**{key: (has[key], wanted[key]) for key in COMPARED})
    actions = len(has["AlarmActions"] + has["OKActions"])
    assert_none(found + differing(threshold=(has["Threshold"], limit), actions=(actions, 2)))


def test_hosts_boot_with_the_names_of_cluster_and_bucket(aws: LocalAws) -> None:
    versions = aws.client("ec2").describe_launch_template_versions(LaunchTemplateName="kvs-infer-gpu-template")
    script = base64.b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()
    assert "${" not in script, "a placeholder is left in the user data"
    assert 'cluster="kvs-infer-cluster"' in script
    assert 'bucket="kvs-inference-snapshots-' in script


def test_the_service_has_the_tasks_of_the_last_block_of_the_task_definition(aws: LocalAws) -> None:
    # moto keeps no percents and no strategy, which the rules over the files cover.
    described = aws.client("ecs").describe_services(cluster="kvs-infer-cluster", services=["kvs-infer-service"])
    service = described["services"][0]
    task = service["taskDefinition"].rsplit("/")[-1].split(":")[0]
    public = service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"]
    assert (service["desiredCount"], task, public) == (3, "kvs-infer-gpu", "DISABLED")


def test_the_number_of_tasks_follows_the_load(aws: LocalAws) -> None:
    scaling = aws.client("application-autoscaling")
    target = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    policy = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 6)
    assert target["ResourceId"] == policy["ResourceId"] == "service/kvs-infer-cluster/kvs-infer-service"
    assert policy["TargetTrackingScalingPolicyConfiguration"] == FILES.ecs["scaling-policy"]


def test_workers_have_their_table_and_are_allowed_to_use_it(aws: LocalAws) -> None:
    table = aws.client("dynamodb").describe_table(TableName="kvs-inference-metadata-workers")["Table"]
    policy = aws.client("iam").get_role_policy(RoleName="kvs-infer-task-role", PolicyName="kvs-infer-sharing")
    named = [item["Resource"] for item in policy["PolicyDocument"]["Statement"]]
    assert [item["AttributeName"] for item in table["KeySchema"]] == ["pool", "member"]
    assert table["TableArn"] in named
    assert "${" not in json.dumps(named)


def test_endpoints_let_tasks_and_hosts_in(aws: LocalAws) -> None:
    ec2 = aws.client("ec2")
    groups = {item["GroupName"]: item for item in ec2.describe_security_groups()["SecurityGroups"]}
    own = groups["kvs-infer-endpoint-sg"]
    permissions = [rule for rule in own["IpPermissions"] if rule["FromPort"] == 443]
    sources = {pair["GroupId"] for rule in permissions for pair in rule["UserIdGroupPairs"]}
    wanted = {groups[name]["GroupId"] for name in ("kvs-infer-ecs-sg", "kvs-infer-host-sg")}
    found = differing(sources=(sources, wanted))
    for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]:
        name = endpoint["ServiceName"]
        if endpoint["VpcEndpointType"] == "Interface":
            has = [item["GroupId"] for item in endpoint["Groups"]]
            found += differing(**{f"{name}: group": (has, [own["GroupId"]])})
        else:
            found += expect(bool(endpoint["RouteTableIds"]), f"{name}: no route table")
    assert_none(found)


@pytest.mark.parametrize("name", ["kvs-infer-ecs-sg", "kvs-infer-host-sg"])
def test_a_group_lets_443_out_and_nothing_else(aws: LocalAws, name: str) -> None:
    groups = aws.client("ec2").describe_security_groups()["SecurityGroups"]
    group = next(item for item in groups if item["GroupName"] == name)
    out = [(rule.get("FromPort"), rule.get("ToPort")) for rule in group["IpPermissionsEgress"]]
    assert (out, group["IpPermissions"]) == ([(443, 443)], [])


def test_the_task_definition_has_the_image_by_digest_and_no_placeholder(aws: LocalAws) -> None:
    task = aws.client("ecs").describe_task_definition(taskDefinition="kvs-infer-gpu")["taskDefinition"]
    assert "@sha256:" in task["containerDefinitions"][0]["image"]
    assert "${" not in json.dumps(task, default=str)
