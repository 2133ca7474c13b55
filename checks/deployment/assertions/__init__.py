"""Assertions about the resources of a stack, type by type: the answer of its API against the template."""

from checks.deployment.assertions import data, network, roles, service
from checks.deployment.assertions.created_stack import ASSERTIONS, CreatedStack

__all__ = ["ASSERTIONS", "CreatedStack", "data", "network", "roles", "service"]
