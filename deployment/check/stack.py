"""The stack, created on a local AWS: each resource that moto makes is checked; those that it skips are listed."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from local_aws import LocalAws, local_aws
from resource_assertions import ASSERTIONS, Made
from sources import GITHUB, TEMPLATE, Files, load

Result = tuple[str, list[str]]
# What moto's CloudFormation makes nothing of. Rules over the files cover these, and `guide` makes the like by the AWS CLI.
SKIPPED = {
    "AWS::CloudWatch::Alarm", "AWS::ECS::CapacityProvider", "AWS::ECS::ClusterCapacityProviderAssociations", "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription", "AWS::SNS::TopicPolicy",
}
# What moto's CloudFormation leaves out of what it makes, by the names of the assertions. Rules over the files cover these as well.
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
# Given, though they are the default: moto does not take a default for a list.
TYPES = {"InstanceTypes": "g4dn.xlarge,g5.xlarge,g6.xlarge"}
# Everything that can be asked for.
WHOLE = TYPES | {
    "ImageUri": IMAGE, "InterfaceEndpoints": "true", "KvsEndpoint": "true", "AlarmEmail": "somebody@example.com",
    "MetricsSourceCidr": "10.0.0.0/8", "HttpTokenSecretArn": TOKEN,
}


def create(aws: LocalAws, files: Files, name: str, **parameters: str) -> Made:
    """Creates a stack of the template."""
    cloudformation = aws.client("cloudformation")
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(StackName=name, TemplateBody=TEMPLATE.read_text(), Parameters=given, Capabilities=["CAPABILITY_IAM"])
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    listed = [item for page in pages for item in page["StackResourceSummaries"] if item["LogicalResourceId"]]
    ids = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in listed}
    return Made(aws, files, name, ids, parameters)


def assertions(made: Made, left_out: dict[str, set[str]]) -> Iterator[Result]:
    """Each resource of the stack; what is left out of it goes to `left_out`."""
    for name in sorted(made.ids):
        kind = made.files.template["Resources"][name]["Type"]
        found = {line.split(":")[0]: line for line in complaints(made, name, kind)}
        out = found.keys() & LEFT_OUT.get(kind, set())
        left_out.setdefault(kind, set()).update(out)
        said = f", but for: {', '.join(sorted(out))}" if out else ""
        yield f"{made.stack}: {name} ({kind}){said}", [line for what, line in found.items() if what not in out]


def complaints(made: Made, name: str, kind: str) -> list[str]:
    """The findings of a type's assertion; an attribute that is missing is a finding as well."""
    if kind not in ASSERTIONS:
        return ["no assertion about this type"]
    try:
        return ASSERTIONS[kind](made, name)
    except (LookupError, ClientError) as missing:
        return [f"{type(missing).__name__}: {missing}"]


def skipped(made: Made) -> Iterator[Result]:
    """What is in the file and was not made."""
    for name, item in sorted(made.files.template["Resources"].items()):
        if name not in made.ids:
            known = item["Type"] in SKIPPED
            yield f"skipped by moto: {name} ({item['Type']})", [] if known else ["moto should make this, and did not"]
    overdue = SKIPPED & {made.files.template["Resources"][name]["Type"] for name in made.ids}
    yield "what moto is said to skip it does skip", [f"it makes {kind} now" for kind in sorted(overdue)]


def roles_of_workflows(aws: LocalAws) -> Iterator[Result]:
    """github.yaml, with a provider that is there (moto makes none): whom each role trusts."""
    given = {
        "Subject": "repo:owner@12/name@34", "RepositoryName": "kvs-infer-0123456789ab",
        "ProviderArn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    }
    cloudformation, iam = aws.client("cloudformation"), aws.client("iam")
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    cloudformation.create_stack(StackName="github", TemplateBody=GITHUB.read_text(), Parameters=parameters, Capabilities=["CAPABILITY_IAM"])
    made = outputs(aws, "github")
    for name, environment in {"ImageRoleArn": "image", "DeployRoleArn": "production"}.items():
        role = iam.get_role(RoleName=made[name].rsplit("/")[-1])["Role"]
        trust = role["AssumeRolePolicyDocument"]["Statement"][0]
        wanted = {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": f"repo:owner@12/name@34:environment:{environment}",
        }
        found = [] if trust["Condition"]["StringEquals"] == wanted else [f"trusts {trust['Condition']}"]
        found += [] if trust["Principal"] == {"Federated": given["ProviderArn"]} else [f"trusts {trust['Principal']}"]
        yield f"github: {name} is for one repository's environment", found


def absent(made: Made, *names: str) -> Result:
    """That these were not made."""
    return f"{made.stack}: without {', '.join(names)}", [f"{name} was made" for name in names if name in made.ids]


def results() -> Iterator[Result]:
    """The whole stack; one before there is an image; one in a given network, with Exec and a key."""
    files = load()
    left_out: dict[str, set[str]] = {}
    with local_aws() as aws:
        whole = create(aws, files, "kvs-infer", **WHOLE)
        yield from assertions(whole, left_out)
        yield from skipped(whole)
        bare = create(aws, files, "bare", **TYPES)
        yield from assertions(bare, left_out)
        yield absent(bare, "Service", "TaskDefinition", "VideoEndpoint", "StsEndpoint", "EndpointSecurityGroup")
        given = create(aws, files, "given", ImageUri=IMAGE, **TYPES, EnableExec="true", KmsKeyArn=KEY, KvsKeyArns=KEY, Purchase="spot", MaxHosts="2", **network(aws))
        yield from assertions(given, left_out)
        yield absent(given, "Vpc", "PrivateSubnet1", "Nat", "NatAddress", "InternetGateway", "PrivateRoutes")
        second = create(aws, files, "kvs-infer-2", ImageUri=IMAGE, **TYPES, **network_of(aws, whole.stack))
        yield from assertions(second, left_out)
        yield from beside(aws, whole, second)
        yield from roles_of_workflows(aws)
        yield "what moto is said to leave out it does leave out", [
            f"{kind}: it makes {', '.join(sorted(what - left_out.get(kind, set())))} now" for kind, what in LEFT_OUT.items() if what - left_out.get(kind, set())
        ]


def outputs(aws: LocalAws, stack: str) -> dict[str, str]:
    """The outputs of a stack."""
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {item["OutputKey"]: item["OutputValue"] for item in described["Outputs"]}


def network_of(aws: LocalAws, stack: str) -> dict[str, str]:
    """The parameters that put a second stack into the network of a first one, as docs/deploy.md says."""
    first = outputs(aws, stack)
    without = dict.fromkeys(["GatewayEndpoints", "InterfaceEndpoints", "KvsEndpoint"], "false")
    return {"VpcId": first["VpcId"], "SubnetIds": first["PrivateSubnetIds"], "RouteTableIds": first["RouteTableIds"]} | without


def beside(aws: LocalAws, first: Made, second: Made) -> Iterator[Result]:
    """Two stacks in one network: the second makes no network, shares no resource with the first, and may pull its image."""
    kinds = ("AWS::EC2::VPC", "AWS::EC2::VPCEndpoint", "AWS::EC2::NatGateway", "AWS::EC2::Subnet", "AWS::EC2::RouteTable")
    network_parts = [name for name in second.ids if second.files.template["Resources"][name]["Type"] in kinds]
    yield f"{second.stack}: makes no network of its own", [f"{name} was made" for name in network_parts]
    shared = sorted(set(first.ids.values()) & set(second.ids.values()))
    yield f"{second.stack}: shares no resource with {first.stack}", [f"{name} is of both" for name in shared]
    ec2 = aws.client("ec2")
    groups = [second.ids[name] for name in ("TaskSecurityGroup", "HostSecurityGroup")]
    vpcs = {group["VpcId"] for group in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]}
    vpc = outputs(aws, first.stack)["VpcId"]
    yield f"{second.stack}: is in the network of {first.stack}", [] if vpcs == {vpc} else [f"its groups are in {vpcs}, not {vpc}"]
    missing = set(outputs(aws, first.stack)) - set(outputs(aws, second.stack)) - {"EndpointSecurityGroupId"}
    yield f"{second.stack}: has the outputs of a stack", [f"no output {name}" for name in sorted(missing)]


def network(aws: LocalAws) -> dict[str, str]:
    """The default network, as parameters."""
    ec2 = aws.client("ec2")
    vpc = next(item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"] if item["IsDefault"])
    mine = [{"Name": "vpc-id", "Values": [vpc]}]
    subnets = [item["SubnetId"] for item in ec2.describe_subnets(Filters=mine)["Subnets"]][:2]
    tables = [item["RouteTableId"] for item in ec2.describe_route_tables(Filters=mine)["RouteTables"]]
    return {"VpcId": vpc, "SubnetIds": ",".join(subnets), "RouteTableIds": ",".join(tables)}
