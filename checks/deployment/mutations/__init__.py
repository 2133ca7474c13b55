"""Mistakes that people make in these files: each is put into a copy of them, and the rule meant for it must see it."""

from checks.deployment.mutations import alarms, github, hosts, permissions, service, sharing
from checks.deployment.mutations.edits import Mutation

MUTATIONS: list[Mutation] = [
    *service.MUTATIONS,
    *permissions.MUTATIONS,
    *sharing.MUTATIONS,
    *hosts.MUTATIONS,
    *github.MUTATIONS,
    *alarms.MUTATIONS,
]
