"""The files that the rules read: those of deployment/, the program's sources, the documents."""

import copy
import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from checks.commands import run
from checks.repository import ROOT, read

TEMPLATE = ROOT / "deployment/cloudformation/kvs-infer.yaml"
PACK = ROOT / "deployment/cloudformation/pack"
GITHUB = ROOT / "deployment/cloudformation/github.yaml"
ECS = ROOT / "deployment/ecs"


class CloudFormationLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, which become their long forms."""


def _tagged(loader: CloudFormationLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """`!Ref x` as {"Ref": x}, `!Sub x` as {"Fn::Sub": x}, `!GetAtt A.B` as {"Fn::GetAtt": ["A", "B"]}."""
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


CloudFormationLoader.add_multi_constructor("!", _tagged)


@dataclass
class Files:
    """The files that the rules read. A mutation changes a copy of it."""

    template: dict[str, Any]
    template_text: str
    ecs: dict[str, Any]
    user_data: str
    operations: str
    guide: str
    container_guide: str
    deploy: str
    dockerfile: str
    compose: str
    cameras: str
    parameters: str
    github: dict[str, Any]
    release: str
    image_workflow: str
    push: str
    rust: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Files":
        """One that can be changed; the sources are shared."""
        made = copy.deepcopy({**self.__dict__, "rust": {}})
        made["rust"] = dict(self.rust)
        return Files(**made)

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The template's resources of a type, by name."""
        found = self.template["Resources"].items()
        return {name: resource for name, resource in found if resource["Type"] == kind}

    def properties(self, name: str) -> dict[str, Any]:
        """The properties of one of the template's resources."""
        return self.template["Resources"].get(name, {}).get("Properties", {})

    def container(self) -> dict[str, Any]:
        """The container of the guide's task definition."""
        return self.ecs["ecs-task-def"]["containerDefinitions"][0]

    def stack_container(self) -> dict[str, Any]:
        """The container of the stack's task definition."""
        return self.properties("TaskDefinition")["ContainerDefinitions"][0]


def parsed(template: str) -> dict[str, Any]:
    """Returns a template as a tree."""
    tree: dict[str, Any] = yaml.load(template, CloudFormationLoader)
    return tree


def packed(template: str) -> str:
    """Returns a template in the form in which `deploy` and `release` send it."""
    return run([PACK, "-"], stdin=template).stdout


def load() -> Files:
    """The files as they are."""
    return Files(
        template=parsed(TEMPLATE.read_text()),
        template_text=TEMPLATE.read_text(),
        ecs={file.stem: json.loads(file.read_text()) for file in sorted(ECS.glob("*.json"))},
        user_data=read("deployment/ecs/user-data.sh"),
        operations=read("docs/operations.md"),
        guide=read("docs/deploy.md"),
        container_guide=read("docs/container.md"),
        deploy=read("deployment/cloudformation/deploy"),
        dockerfile=read("Dockerfile"),
        compose=read("deployment/monitoring/compose.yaml"),
        cameras=read("deployment/cloudformation/cameras.example.yaml"),
        parameters=read("deployment/cloudformation/parameters.example.env"),
        github=parsed(GITHUB.read_text()),
        release=read("deployment/release"),
        image_workflow=read(".github/workflows/image.yml"),
        push=read("scripts/image/push"),
        rust={str(file.relative_to(ROOT)): file.read_text() for file in sorted((ROOT / "src").rglob("*.rs"))},
    )


def strings(value: Any) -> list[str]:
    """Every string in a tree of lists and dicts."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def constant_seconds(rust: dict[str, str], path: str, name: str) -> int:
    """A `const NAME: Duration = Duration::from_secs(N)` of the program."""
    found = re.search(rf"const {name}: Duration = Duration::from_secs\((\d+)\)", rust[path])
    if not found:
        raise LookupError(f"{path}: there is no constant {name} in seconds")
    return int(found[1])
