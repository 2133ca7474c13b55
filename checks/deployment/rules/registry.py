"""The list of rules: a rule takes the files and returns what is wrong, one line per finding."""

from collections.abc import Callable

from checks.deployment.files import Files

Rule = Callable[[Files], list[str]]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    """Adds a rule to the list."""
    RULES.append(check)
    return check
