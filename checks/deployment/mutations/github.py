"""Mistakes that the rules of the workflows' roles must catch."""

from checks.deployment.mutations.edits import Mutation, github_policy, github_trust
from checks.deployment.rules import github

MUTATIONS = [
    Mutation(
        "a workflow that calls more",
        github.workflows_may_do_what_they_do,
        lambda f: setattr(f, "release", f.release + "\naws ecs stop-task\n"),
    ),
    Mutation(
        "a role of a workflow for more",
        github.workflows_may_do_what_they_do,
        lambda f: github_policy(f, "ImageRole", "PushTheImage")["Action"].append("ecr:DeleteRepository"),
    ),
    Mutation(
        "a push without signing in",
        github.workflows_may_do_what_they_do,
        lambda f: github_policy(f, "ImageRole", "SignInToTheRegistry").update(Action="ecr:DescribeRegistry"),
    ),
    Mutation(
        "any repository",
        github.workflows_roles_are_theirs_alone,
        lambda f: github_trust(f, "DeployRole")["StringEquals"].pop("token.actions.githubusercontent.com:sub"),
    ),
    Mutation(
        "any audience",
        github.workflows_roles_are_theirs_alone,
        lambda f: github_trust(f, "ImageRole")["StringEquals"].pop("token.actions.githubusercontent.com:aud"),
    ),
    Mutation(
        "the old subject only",
        github.workflows_roles_are_theirs_alone,
        lambda f: f.github["Parameters"]["Subject"].update(AllowedPattern="^repo:[A-Za-z0-9-]+/[A-Za-z0-9._-]+$"),
    ),
    Mutation(
        "a type that CloudFormation is not allowed to make",
        github.cloudformation_may_make_the_stack,
        lambda f: f.template["Resources"].update(Queue={"Type": "AWS::SQS::Queue"}),
    ),
    Mutation(
        "any role to CloudFormation",
        github.cloudformation_may_make_the_stack,
        lambda f: github_policy(f, "DeployRole", "GiveCloudFormationItsRole").update(Resource="*"),
    ),
    Mutation(
        "roles of workflows that a deployment can change",
        github.cloudformation_may_make_the_stack,
        lambda f: github_policy(f, "CloudFormationRole", "NotTheseRoles").update(Effect="Allow"),
    ),
]
