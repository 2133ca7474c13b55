"""Rules over the files of deployment/, by subject; `RULES` has them all, and each has its mistakes in mutations/."""

from checks.deployment.rules import alarms, github, hosts, permissions, service, sharing
from checks.deployment.rules.registry import RULES, Rule

__all__ = ["RULES", "Rule", "alarms", "github", "hosts", "permissions", "service", "sharing"]
