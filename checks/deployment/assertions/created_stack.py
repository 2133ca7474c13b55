"""A stack on the local AWS, and the list of assertions about its resources, by type."""

from collections.abc import Callable
from dataclasses import dataclass

from checks.deployment.files import Files
from checks.deployment.local_aws import LocalAws

Assertion = Callable[["CreatedStack", str], list[str]]
ASSERTIONS: dict[str, Assertion] = {}
ACCOUNT, REGION = "123456789012", "ap-southeast-1"


@dataclass
class CreatedStack:
    """A stack that was created: its resources' own names by those of the file."""

    aws: LocalAws
    files: Files
    stack: str
    ids: dict[str, str]
    given: dict[str, str]

    def parameter(self, name: str) -> str:
        """A parameter's value."""
        return self.given.get(name, str(self.files.template["Parameters"][name].get("Default")))

    def shares(self) -> bool:
        """Returns whether several tasks share the cameras."""
        return int(self.parameter("Workers")) > 1

    def subnets(self) -> list[str]:
        """The private subnets, made or given."""
        return (
            [self.ids["PrivateSubnet1"], self.ids["PrivateSubnet2"]]
            if "Vpc" in self.ids
            else self.parameter("SubnetIds").split(",")
        )

    def vpc(self) -> str:
        """The VPC, made or given."""
        return self.ids.get("Vpc") or self.parameter("VpcId")

    def tables(self) -> list[str]:
        """The route tables of the private subnets."""
        return [self.ids["PrivateRoutes"]] if "Vpc" in self.ids else self.parameter("RouteTableIds").split(",")


def assertion_about(kind: str) -> Callable[[Assertion], Assertion]:
    """Registers an assertion about a type."""

    def register(check: Assertion) -> Assertion:
        ASSERTIONS[kind] = check
        return check

    return register
