"""The rules hold for the files of deployment/ as they are, and each catches the mistakes that it is there for."""

import pytest

from checks.deployment.files import Files, load
from checks.deployment.mutations import MUTATIONS
from checks.deployment.mutations.edits import Mutation
from checks.deployment.rules import RULES, Rule
from checks.tables import assert_none


@pytest.fixture(scope="module")
def files() -> Files:
    """Returns the files as they are."""
    return load()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(files: Files, rule: Rule) -> None:
    assert_none(rule(files))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.rule.__name__}: {mutation.name}")
def test_rule_catches(files: Files, mutation: Mutation) -> None:
    spoilt = files.copy()
    mutation.spoil(spoilt)
    assert mutation.rule(spoilt) != mutation.rule(files), f"{mutation.rule.__name__} does not see: {mutation.name}"


def test_each_rule_has_a_mutation() -> None:
    unused = set(RULES) - {mutation.rule for mutation in MUTATIONS}
    assert_none(f"no mutation shows that {rule.__name__} can fail" for rule in unused)
