"""The stack, created on a local AWS: each resource that moto makes is checked, and the rest is listed as skipped.

Stacks differ in their parameters: `kvs-infer` has everything and three workers, `bare` no image, `given` a network that
exists, with Exec and a key, and `kvs-infer-2` the network of the first.
"""

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from checks.deployment.assertions import ASSERTIONS, CreatedStack
from checks.deployment.files import GITHUB, Files, load, packed
from checks.deployment.local_aws import LocalAws, default_network, local_aws
from checks.tables import assert_none, expect, rows

# Types of which moto's CloudFormation makes nothing. Rules over the files cover these, and test_guide.py makes the like
# with the AWS CLI.
SKIPPED = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::ECS::CapacityProvider",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
}
# What moto's CloudFormation leaves out of the resources that it makes, by the names of the assertions. Rules over the
# files cover these as well.
LEFT_OUT = {
    "AWS::AutoScaling::AutoScalingGroup": {"rebalanced"},
    "AWS::DynamoDB::Table": {"expires", "backups", "encrypted"},
    "AWS::EC2::SecurityGroup": {"egress"},
    "AWS::EC2::Subnet": {"public"},
    "AWS::EC2::SubnetRouteTableAssociation": {"subnets"},
    "AWS::EC2::VPC": {"names"},
    "AWS::ECR::Repository": {"scans", "expires"},
    "AWS::ECS::Cluster": {"settings"},
    "AWS::ECS::Service": {"subnets", "groups", "public"},
    "AWS::ECS::TaskDefinition": {"roles"},
    "AWS::IAM::Role": {"attached", "WriteLogs"},
    "AWS::Kinesis::Stream": {"encryption"},
    "AWS::S3::Bucket": {"blocked", "versions", "expires"},
}
IMAGE = "123456789012.dkr.ecr.ap-southeast-1.amazonaws.com/kvs-infer@sha256:" + "0" * 64
TOKEN = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:token-abcdef"
KEY = "arn:aws:kms:ap-southeast-1:123456789012:key/00000000-0000-0000-0000-000000000000"
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
# Given, though they are the default: moto does not take a default for a list.
TYPES = {"InstanceTypes": "g4dn.xlarge,g5.xlarge,g6.xlarge"}
# Everything that can be asked for, but for MaxWorkers: moto makes no service that does not say how many tasks it has.
WHOLE = TYPES | {
    "ImageUri": IMAGE,
    "Workers": "3",
    "InterfaceEndpoints": "true",
    "KvsEndpoint": "true",
    "AlarmEmail": "somebody@example.com",
    "MetricsSourceCidr": "10.0.0.0/8",
    "HttpTokenSecretArn": TOKEN,
}
EXEC_AND_KEYS = {
    "EnableExec": "true",
    "KmsKeyArn": KEY,
    "KvsKeyArns": KEY,
    "Purchase": "spot",
    "MaxHosts": "2",
}
# Resources that a stack is without, because of its parameters.
ABSENT = {
    "bare": ["Service", "TaskDefinition", "VideoEndpoint", "StsEndpoint", "EndpointSecurityGroup"],
    "given": ["Vpc", "PrivateSubnet1", "Nat", "NatAddress", "InternetGateway", "PrivateRoutes", "WorkerTable"],
}
STACKS = ("kvs-infer", "bare", "given", "kvs-infer-2")
FILES = load()
RESOURCES = sorted(FILES.template["Resources"])


def create(aws: LocalAws, files: Files, name: str, **parameters: str) -> CreatedStack:
    """Creates a stack of the template."""
    cloudformation = aws.client("cloudformation")
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(
        StackName=name, TemplateBody=packed(files.template_text), Parameters=given, Capabilities=["CAPABILITY_IAM"]
    )
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    listed = [item for page in pages for item in page["StackResourceSummaries"] if item["LogicalResourceId"]]
    ids = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in listed}
    return CreatedStack(aws, files, name, ids, parameters)


def outputs(aws: LocalAws, stack: str) -> dict[str, str]:
    """Returns the outputs of a stack."""
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {item["OutputKey"]: item["OutputValue"] for item in described["Outputs"]}


def network_of(aws: LocalAws, stack: str) -> dict[str, str]:
    """Returns the parameters that put a second stack into the network of a first one, as docs/deploy.md describes."""
    first = outputs(aws, stack)
    without = dict.fromkeys(["GatewayEndpoints", "InterfaceEndpoints", "KvsEndpoint"], "false")
    return {
        "VpcId": first["VpcId"],
        "SubnetIds": first["PrivateSubnetIds"],
        "RouteTableIds": first["RouteTableIds"],
    } | without


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """Starts a local AWS."""
    with local_aws() as running:
        yield running


@pytest.fixture(scope="module")
def stacks(aws: LocalAws) -> dict[str, CreatedStack]:
    """Creates the stacks, in the order in which one needs the other."""
    made = {"kvs-infer": create(aws, FILES, "kvs-infer", **WHOLE), "bare": create(aws, FILES, "bare", **TYPES)}
    given = TYPES | EXEC_AND_KEYS | default_network(aws)
    made["given"] = create(aws, FILES, "given", ImageUri=IMAGE, **given)
    beside = TYPES | network_of(aws, "kvs-infer")
    made["kvs-infer-2"] = create(aws, FILES, "kvs-infer-2", ImageUri=IMAGE, **beside)
    return made


def kind_of(name: str) -> str:
    """Returns the type of a resource of the template."""
    kind: str = FILES.template["Resources"][name]["Type"]
    return kind


def complaints(made: CreatedStack, name: str) -> dict[str, str]:
    """Returns the findings of a type's assertion by name; an attribute that is missing is a finding as well."""
    kind = kind_of(name)
    if kind not in ASSERTIONS:
        return {"no assertion": f"no assertion about {kind}"}
    try:
        return {line.split(":")[0]: line for line in ASSERTIONS[kind](made, name)}
    except (LookupError, ClientError) as missing:
        return {type(missing).__name__: f"{type(missing).__name__}: {missing}"}


@pytest.mark.parametrize("stack", STACKS)
def test_each_resource_is_as_the_template_means(
    stacks: dict[str, CreatedStack], stack: str, subtests: pytest.Subtests
) -> None:
    made = stacks[stack]
    for name in sorted(made.ids):
        kind = kind_of(name)
        with subtests.test(f"{name} ({kind})"):
            found = complaints(made, name)
            assert_none(line for what, line in found.items() if what not in LEFT_OUT.get(kind, set()))


@pytest.mark.parametrize("name", [name for name in RESOURCES if kind_of(name) in SKIPPED])
def test_moto_skips(stacks: dict[str, CreatedStack], name: str) -> None:
    assert name not in stacks["kvs-infer"].ids, f"moto makes {kind_of(name)} now: remove it from SKIPPED"


def test_moto_makes_all_else_of_the_whole_stack(stacks: dict[str, CreatedStack]) -> None:
    missing = set(RESOURCES) - stacks["kvs-infer"].ids.keys()
    assert_none(f"moto should make {name} and did not" for name in missing if kind_of(name) not in SKIPPED)


@pytest.mark.parametrize(("kind", "names"), LEFT_OUT.items(), ids=LEFT_OUT)
def test_moto_leaves_out(stacks: dict[str, CreatedStack], kind: str, names: set[str]) -> None:
    left_out: set[str] = set()
    for made in stacks.values():
        for name in made.ids:
            left_out |= complaints(made, name).keys() if kind_of(name) == kind else set()
    assert names <= left_out, f"moto makes {sorted(names - left_out)} now: remove them from LEFT_OUT"


@pytest.mark.parametrize(("stack", "names"), ABSENT.items(), ids=ABSENT)
def test_a_stack_is_without_what_its_parameters_leave_out(
    stacks: dict[str, CreatedStack], stack: str, names: list[str]
) -> None:
    assert_none(f"{name} was made" for name in names if name in stacks[stack].ids)


# --- a second stack in the network of the first ----------------------------------------------------------------------


def test_a_second_stack_makes_no_network_of_its_own(stacks: dict[str, CreatedStack]) -> None:
    kinds = ("VPC", "VPCEndpoint", "NatGateway", "Subnet", "RouteTable")
    made = [name for name in stacks["kvs-infer-2"].ids if kind_of(name) in {f"AWS::EC2::{kind}" for kind in kinds}]
    assert_none(f"{name} was made" for name in made)


def test_a_second_stack_shares_no_resource_with_the_first(stacks: dict[str, CreatedStack]) -> None:
    shared = set(stacks["kvs-infer"].ids.values()) & set(stacks["kvs-infer-2"].ids.values())
    assert_none(f"{name} is of both" for name in sorted(shared))


def test_a_second_stack_is_in_the_network_of_the_first(aws: LocalAws, stacks: dict[str, CreatedStack]) -> None:
    groups = [stacks["kvs-infer-2"].ids[name] for name in ("TaskSecurityGroup", "HostSecurityGroup")]
    described = aws.client("ec2").describe_security_groups(GroupIds=groups)["SecurityGroups"]
    assert {group["VpcId"] for group in described} == {outputs(aws, "kvs-infer")["VpcId"]}


def test_a_second_stack_has_the_outputs_of_the_first(aws: LocalAws, stacks: dict[str, CreatedStack]) -> None:
    first, second = (set(outputs(aws, stacks[name].stack)) for name in ("kvs-infer", "kvs-infer-2"))
    assert_none(f"no output {name}" for name in sorted(first - second - {"EndpointSecurityGroupId", "WorkerTableName"}))


# --- the roles of the workflows --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def github(aws: LocalAws) -> dict[str, str]:
    """Creates github.yaml with a provider that exists (moto makes none), and returns its outputs."""
    given = {"Subject": "repo:owner@12/name@34", "RepositoryName": "kvs-infer-0123456789ab", "ProviderArn": PROVIDER}
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    aws.client("cloudformation").create_stack(
        StackName="github", TemplateBody=GITHUB.read_text(), Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
    )
    return outputs(aws, "github")


@pytest.mark.parametrize(
    ("output", "environment"),
    rows({name: (name, to) for name, to in {"ImageRoleArn": "image", "DeployRoleArn": "production"}.items()}),
)
def test_a_workflows_role_is_for_one_repositorys_environment(
    aws: LocalAws, github: dict[str, str], output: str, environment: str
) -> None:
    role = aws.client("iam").get_role(RoleName=github[output].rsplit("/")[-1])["Role"]
    trust = role["AssumeRolePolicyDocument"]["Statement"][0]
    wanted = {
        "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
        "token.actions.githubusercontent.com:sub": f"repo:owner@12/name@34:environment:{environment}",
    }
    found = expect(trust["Condition"]["StringEquals"] == wanted, f"trusts {trust['Condition']}")
    assert_none(found + expect(trust["Principal"] == {"Federated": PROVIDER}, f"trusts {trust['Principal']}"))
