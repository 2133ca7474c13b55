"""Rules of github.yaml: the roles of the workflows are for them alone, and allow what they do."""

import re
from typing import Any

from checks.deployment.files import Files
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import text_of
from checks.tables import expect

# What `aws cloudformation deploy` calls, for a template with a parameter of SSM.
OF_DEPLOY = {
    f"cloudformation:{name}"
    for name in (
        "CreateChangeSet",
        "DescribeChangeSet",
        "DescribeStacks",
        "ExecuteChangeSet",
        "GetTemplateSummary",
        "TagResource",
        "UntagResource",
    )
} | {"ssm:GetParameters", "iam:PassRole"}
# What a push does at the registry.
OF_PUSH = {
    f"ecr:{name}"
    for name in (
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "CompleteLayerUpload",
        "InitiateLayerUpload",
        "PutImage",
        "UploadLayerPart",
    )
}


def actions_in(script: str) -> set[str]:
    """The IAM actions of the AWS CLI's calls in a script."""
    found: set[str] = set()
    for service, operation in re.findall(
        r"\baws ([a-z0-9]+) ([a-z][a-z-]+)", re.sub(r"^\s*#.*$", "", script, flags=re.MULTILINE)
    ):
        if (service, operation) == ("cloudformation", "deploy"):
            found |= OF_DEPLOY
        elif (service, operation) == ("ecr", "get-login-password"):
            found.add("ecr:GetAuthorizationToken")
        else:
            found.add(f"{service}:{''.join(part.capitalize() for part in operation.split('-'))}")
    return found


def policy(files: Files, role: str) -> list[dict[str, Any]]:
    """The statements of a role that allow something."""
    listed = files.github["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return [item for item in listed if item["Effect"] == "Allow"]


def allowed(files: Files, role: str) -> set[str]:
    """The actions that a role allows."""
    actions = [item["Action"] for item in policy(files, role)]
    return {name for item in actions for name in ([item] if isinstance(item, str) else item)}


@rule
def workflows_may_do_what_they_do(files: Files) -> list[str]:
    """The role of each workflow allows the calls of its scripts, and nothing that none of them makes."""
    calls = {
        "ImageRole": actions_in(files.image_workflow + files.push) | OF_PUSH,
        "DeployRole": actions_in(files.release),
    }
    # For a person who looks at a stack that failed, with the same role.
    besides = {
        "cloudformation:DeleteChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:ListStackResources",
    }
    found = []
    for role, made in calls.items():
        has = allowed(files, role)
        found += expect(made <= has, f"{role} does not allow {sorted(made - has)}")
        found += expect(has <= made | besides, f"{role} allows {sorted(has - made - besides)}, which nothing calls")
    return found


@rule
def workflows_roles_are_theirs_alone(files: Files) -> list[str]:
    """Only this repository in its environment has them, by a subject in either of GitHub's formats."""
    found = []
    for role in ("ImageRole", "DeployRole"):
        statement = files.github["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
        equal = statement.get("Condition", {}).get("StringEquals", {})
        found += expect(
            equal.get("token.actions.githubusercontent.com:aud") == "sts.amazonaws.com", f"{role}: any audience"
        )
        subject = text_of(equal.get("token.actions.githubusercontent.com:sub"))
        found += expect(
            re.fullmatch(r"\$\{Subject\}:environment:\$\{\w+Environment\}", subject) is not None,
            f"{role}: for the subject {subject!r}",
        )
    pattern = files.github["Parameters"]["Subject"]["AllowedPattern"]
    for subject, wanted in {
        "repo:o/n": True,
        "repo:o@12/n@34": True,
        "repo:o/*": False,
        "repo:*": False,
        "repo:o/n:ref:refs/heads/main": False,
    }.items():
        found += expect(
            bool(re.fullmatch(pattern, subject)) == wanted, f"Subject: {subject} is {'refused' if wanted else 'taken'}"
        )
    return found


@rule
def cloudformation_may_make_the_stack(files: Files) -> list[str]:
    """Its role has actions for each type of the stack, is passed to it only, and cannot change who may deploy."""
    has = {action.split(":")[0].replace("-", "") for action in allowed(files, "CloudFormationRole")}
    wanted = {item["Type"].split("::")[1].lower() for item in files.template["Resources"].values()}
    found = expect(wanted <= has, f"CloudFormationRole has nothing for {sorted(wanted - has)}")
    passes = [item for item in policy(files, "DeployRole") if item["Action"] == "iam:PassRole"]
    narrow = [item["Resource"] for item in passes] == [
        {"Fn::GetAtt": ["CloudFormationRole", "Arn"]}
    ] and "Condition" in passes[0]
    found += expect(narrow, "DeployRole may pass more than CloudFormation's role to CloudFormation")
    listed = files.github["Resources"]["CloudFormationRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    denied = [item for item in listed if item["Effect"] == "Deny"]
    return found + expect(
        "${AWS::StackName}-*" in str(denied), "CloudFormationRole can change the roles of the workflows"
    )
