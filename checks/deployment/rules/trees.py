"""Finds values in the trees of the template and of the ECS files."""

from typing import Any

from checks.deployment.files import Files


def services(files: Files) -> dict[str, dict[str, Any]]:
    """The guide's service and the stack's."""
    return {"ecs-service.json": files.ecs["ecs-service"], "the stack's Service": files.properties("Service")}


def containers(files: Files) -> dict[str, dict[str, Any]]:
    """The guide's container and the stack's."""
    return {"ecs-task-def.json": files.container(), "the stack's TaskDefinition": files.stack_container()}


def lowered(value: Any) -> Any:
    """A tree whose keys begin with a small letter, as the ECS API spells them."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: lowered(inner) for key, inner in value.items()}
    return [lowered(inner) for inner in value] if isinstance(value, list) else value


def referred(value: Any) -> str:
    """Returns the name in a `!Ref` or `!GetAtt`, or the text itself."""
    if isinstance(value, dict):
        named = value.get("Ref") or value.get("Fn::GetAtt", [""])
        return named if isinstance(named, str) else named[0]
    return str(value)


def text_of(value: Any) -> str:
    """A text, also that of a `!Sub` with its variables put in; of a condition the first choice."""
    if not isinstance(value, dict):
        return str(value)
    if "Fn::If" in value:
        return text_of(value["Fn::If"][1])
    template = value.get("Fn::Sub", "")
    text, variables = template if isinstance(template, list) else (template, {})
    for name, inner in variables.items():
        text = text.replace(f"${{{name}}}", text_of(inner))
    return str(text)


def referred_in(value: Any) -> set[str]:
    """All that a tree names by `!Ref`."""
    if isinstance(value, dict):
        own = {value["Ref"]} if isinstance(value.get("Ref"), str) else set()
        return own.union(*(referred_in(inner) for inner in value.values()))
    return set().union(*(referred_in(inner) for inner in value)) if isinstance(value, list) else set()
