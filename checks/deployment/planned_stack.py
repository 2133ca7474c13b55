"""The stack as CloudFormation would plan it with some parameters: conditions decided, parameters put in."""

from typing import Any

from checks.deployment.files import Files

IMAGE = "registry.example/kvs-infer@sha256:" + "0" * 64
# Stands for `AWS::NoValue` until what has it is left out.
NOTHING = object()


class PlannedStack:
    """The resources of the template that some parameters make, with an image unless they say otherwise."""

    def __init__(self, files: Files, **given: str | int) -> None:
        self.files = files
        defaults = {name: item.get("Default", "") for name, item in files.template["Parameters"].items()}
        self.given = {name: str(value) for name, value in (defaults | {"ImageUri": IMAGE} | given).items()}

    def has(self, name: str) -> bool:
        """Returns whether a resource is made."""
        resource = self.files.template["Resources"].get(name)
        return resource is not None and ("Condition" not in resource or self.holds(resource["Condition"]))

    def properties(self, name: str) -> dict[str, Any]:
        """Returns the properties of a resource that is made, or none."""
        found: dict[str, Any] = self.resolved(self.files.properties(name)) if self.has(name) else {}
        return found

    def names(self, kind: str) -> set[str]:
        """Returns the resources of a type that are made."""
        return {name for name in self.files.resources(kind) if self.has(name)}

    def refused(self) -> list[str]:
        """Returns what the rules of the template say against these parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self.files.template["Rules"].values()
            if self.decided(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.decided(assertion["Assert"])
        ]

    def holds(self, condition: str) -> bool:
        """Returns whether a condition of the template holds."""
        return self.decided(self.files.template["Conditions"][condition])

    def decided(self, value: Any) -> bool:
        """Returns the value of a function of conditions."""
        if isinstance(value, bool):
            return value
        [(function, inner)] = value.items()
        if function == "Condition":
            return self.holds(inner)
        if function == "Fn::Not":
            return not self.decided(inner[0])
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)(self.decided(item) for item in inner)
        first, second = (self.resolved(item) for item in inner)
        if function == "Fn::Contains":
            return str(second) in [str(item) for item in first]
        assert function == "Fn::Equals", f"{function} is not a function of conditions that the rules know"
        return str(first) == str(second)

    def resolved(self, value: Any) -> Any:
        """Returns a tree with its conditions decided and its parameters put in; other functions stay."""
        if isinstance(value, list):
            items = [self.resolved(item) for item in value]
            return [item for item in items if item is not NOTHING]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, holds, fails = value["Fn::If"]
            return self.resolved(holds if self.holds(condition) else fails)
        if value == {"Ref": "AWS::NoValue"}:
            return NOTHING
        if isinstance(value.get("Ref"), str) and value["Ref"] in self.given:
            return self.given[value["Ref"]]
        pairs = {key: self.resolved(inner) for key, inner in value.items()}
        return {key: inner for key, inner in pairs.items() if inner is not NOTHING}
