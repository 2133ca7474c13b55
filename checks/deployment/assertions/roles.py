"""Assertions about the registry and the roles."""

import ast
import json
from typing import Any

from checks.deployment.assertions.created_stack import ACCOUNT, REGION, CreatedStack, assertion_about
from checks.tables import differing


@assertion_about("AWS::ECR::Repository")
def repository(made: CreatedStack, name: str) -> list[str]:
    """Tags that stay, scans, and a lifecycle policy for what has no tag."""
    ecr = made.aws.client("ecr")
    has = ecr.describe_repositories(repositoryNames=[made.ids[name]])["repositories"][0]
    return differing(
        tags=(has["imageTagMutability"], "IMMUTABLE"),
        scans=(has["imageScanningConfiguration"].get("scanOnPush"), True),
        expires=(images_that_go(ecr, made.ids[name]), ["untagged"]),
    )


def images_that_go(ecr: Any, repository: str) -> list[str]:
    """Returns the kinds of images that a lifecycle policy deletes."""
    try:
        policy = json.loads(ecr.get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    except ecr.exceptions.LifecyclePolicyNotFoundException:
        return []
    return [item["selection"]["tagStatus"] for item in policy["rules"]]


def resources_of(made: CreatedStack) -> dict[str, list[str]]:
    """The ARNs that each statement of the roles must name."""
    kvs, bucket = f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream", f"arn:aws:s3:::{made.ids['Bucket']}"
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table"
    return {
        "ReadCameras": [f"{kvs}/{made.parameter('KvsStreamPrefix')}*/*"],
        "Notify": [f"arn:aws:sns:{REGION}:{ACCOUNT}:kvs-infer-*"],
        "PublishEvents": [f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{made.ids['EventStream']}"],
        "StoreSnapshots": [f"{bucket}/{made.parameter('S3Prefix')}/*"],
        "ReadSnapshots": [f"{bucket}/{made.parameter('S3Prefix')}/*"],
        "ReadHistory": [f"{table}/{made.ids['EventTable']}{part}" for part in ("", "/index/camera_id-ts_ms-index")],
        "ReadConfigurationAndModels": [f"{bucket}/config/*", f"{bucket}/models/*"],
        "SeeWhatIsMissing": [bucket],
        "DecryptVideo": made.parameter("KvsKeyArns").split(","),
        "KeepRecordsAndPositions": [f"{table}/{made.ids['EventTable']}", f"{table}/{made.ids['PositionTable']}"],
        "TakeCamerasOver": [f"{table}/{made.ids['PositionTable']}"],
        "ShareCameras": [f"{table}/{made.ids.get('WorkerTable')}"],
        "EncryptAndDecryptInTheBucket": [made.parameter("KmsKeyArn")],
        "Exec": ["*"],
        "SignInToTheRegistry": ["*"],
        "PullTheImage": [
            f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"
            for name in (made.ids["Repository"], made.parameter("ImageRepositories"))
        ],
        "WriteLogs": [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{made.ids['Logs']}:*"],
        "ReadTheToken": [made.parameter("HttpTokenSecretArn")],
    }


def statements_wanted(made: CreatedStack, name: str) -> set[str]:
    """The statements that a role must have with these parameters."""
    asked = {
        "Exec": made.parameter("EnableExec") == "true",
        "EncryptAndDecryptInTheBucket": made.parameter("KmsKeyArn") != "",
    }
    asked |= dict.fromkeys(("TakeCamerasOver", "ShareCameras"), made.shares())
    asked["DecryptVideo"] = made.parameter("KvsKeyArns") != ""
    asked["ReadTheToken"] = made.parameter("HttpTokenSecretArn") != ""
    document = made.files.properties(name)["Policies"][0]["PolicyDocument"]
    sids = [(item["Fn::If"][1] if "Fn::If" in item else item)["Sid"] for item in document["Statement"]]
    return {sid for sid in sids if asked.get(sid, True)}


def statements_of(iam: Any, role: str) -> list[dict[str, Any]]:
    """Returns the statements of a role's inline policy."""
    # moto gives one with `AWS::NoValue` in it as Python writes it, with None for that.
    policy = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    document = ast.literal_eval(document) if isinstance(document, str) else document
    return [item for item in document["Statement"] if item]


@assertion_about("AWS::IAM::Role")
def role(made: CreatedStack, name: str) -> list[str]:
    """Its trust; its policies, each statement with the true ARNs."""
    iam = made.aws.client("iam")
    trust = json.dumps(iam.get_role(RoleName=made.ids[name])["Role"]["AssumeRolePolicyDocument"])
    if name == "InstanceRole":
        attached = {
            item["PolicyName"] for item in iam.list_attached_role_policies(RoleName=made.ids[name])["AttachedPolicies"]
        }
        wanted = {"AmazonEC2ContainerServiceforEC2Role", "AmazonSSMManagedInstanceCore"}
        return differing(attached=(attached, wanted), trusted=("ec2.amazonaws.com" in trust, True))
    listed = {item["Sid"]: item["Resource"] for item in statements_of(iam, made.ids[name])}
    found = differing(
        statements=(set(listed), statements_wanted(made, name)),
        account=(f'"aws:SourceAccount": "{ACCOUNT}"' in trust, True),
    )
    for sid, resource in listed.items():
        has = [resource] if isinstance(resource, str) else resource
        found += differing(**{sid: (has, resources_of(made)[sid])})
    return found


@assertion_about("AWS::IAM::InstanceProfile")
def instance_profile(made: CreatedStack, name: str) -> list[str]:
    """It has the hosts' role."""
    roles = made.aws.client("iam").get_instance_profile(InstanceProfileName=made.ids[name])["InstanceProfile"]["Roles"]
    return differing(roles=([item["RoleName"] for item in roles], [made.ids["InstanceRole"]]))
