"""Mistakes that the rules of alarms and the dashboard, and of what belongs together must catch."""

from checks.deployment.mutations.edits import TASK, Mutation, set_dashboard, stack, without
from checks.deployment.rules import alarms

MUTATIONS = [
    Mutation(
        "an alarm without an action", alarms.alarms_notify, lambda f: stack(f, "LagHighAlarm").pop("AlarmActions")
    ),
    Mutation(
        "an alarm that sleeps when no task runs",
        alarms.silence_is_an_alarm,
        lambda f: stack(f, "NoRunningTaskAlarm").update(TreatMissingData="missing"),
    ),
    Mutation(
        "an alarm on a metric that is not there",
        alarms.alarms_are_all_there,
        lambda f: stack(f, "LagHighAlarm").update(MetricName="Lag"),
    ),
    Mutation(
        "a crash without a message",
        alarms.failures_are_reported_at_once,
        lambda f: f.template["Resources"].pop("TaskEndedRule"),
    ),
    Mutation(
        "crashes of other clusters",
        alarms.failures_are_reported_at_once,
        lambda f: stack(f, "TaskEndedRule")["EventPattern"]["detail"].pop("clusterArn"),
    ),
    Mutation(
        "a failed deployment without a message",
        alarms.failures_are_reported_at_once,
        lambda f: stack(f, "ServiceFailedRule").pop("Targets"),
    ),
    Mutation(
        "a topic that alarms cannot reach",
        alarms.failures_are_reported_at_once,
        lambda f: stack(f, "AlarmTopicPolicy")["PolicyDocument"]["Statement"].pop(0),
    ),
    Mutation(
        "a GPU host on its CPU in silence",
        alarms.alarms_are_all_there,
        lambda f: f.template["Resources"].pop("ModelsOnCpuAlarm"),
    ),
    Mutation(
        "an endpoint that is not paid",
        alarms.the_costs_are_counted,
        lambda f: f.template["Resources"].pop("SecretsManagerEndpoint"),
    ),
    Mutation(
        "another driver than the documents say",
        alarms.a_refused_driver_is_explained,
        lambda f: setattr(f, "dockerfile", f.dockerfile.replace("cuda>=13.0", "cuda>=14.0")),
    ),
    Mutation(
        "a wrong sum", alarms.the_costs_are_counted, lambda f: setattr(f, "guide", f.guide.replace("= $965", "= $804"))
    ),
    Mutation(
        "a wrong sum of requests",
        alarms.the_costs_are_counted,
        lambda f: setattr(f, "guide", f.guide.replace("= $1,409", "= $1,049")),
    ),
    Mutation(
        "requests that were not counted again",
        alarms.the_requests_of_workers_are_counted,
        lambda f: setattr(f, "guide", f.guide.replace("34 workers:", "43 workers:")),
    ),
    Mutation(
        "an alarm that is missing", alarms.alarms_are_all_there, lambda f: f.template["Resources"].pop("OutboxOldAlarm")
    ),
    Mutation(
        "an alarm by another dimension",
        alarms.alarms_are_all_there,
        lambda f: stack(f, "LagHighAlarm").update(Dimensions=[{"Name": "Camera", "Value": "a"}]),
    ),
    Mutation(
        "an alarm on any stack's figures",
        alarms.alarms_are_this_stacks,
        lambda f: stack(f, "LagHighAlarm")["Dimensions"][0].update(Value="kvs-infer"),
    ),
    Mutation(
        "a pool without a leader in silence",
        alarms.silence_is_an_alarm,
        lambda f: stack(f, "WorkersLowAlarm").update(TreatMissingData="notBreaching"),
    ),
    Mutation(
        "cameras without a worker in silence",
        alarms.alarms_are_all_there,
        lambda f: f.template["Resources"].pop("CamerasUnassignedAlarm"),
    ),
    Mutation(
        "an alarm of workers in each stack",
        alarms.the_costs_are_counted,
        lambda f: f.template["Resources"]["WorkersLowAlarm"].update(Condition="HasImage"),
    ),
    Mutation(
        "a dashboard without the load",
        alarms.the_dashboard_shows_metrics_that_exist,
        lambda f: set_dashboard(f, "${Shared}", ""),
    ),
    Mutation(
        "an alarm without an explanation",
        alarms.alarms_are_explained,
        lambda f: setattr(f, "operations", without(f.operations, "### Alarm LagHigh")),
    ),
    Mutation(
        "an outbox alarm that comes too late",
        alarms.the_outbox_alarm_comes_in_time,
        lambda f: stack(f, "OutboxFillingAlarm").update(Threshold=2 * 1024**3),
    ),
    Mutation(
        "a dashboard of nothing",
        alarms.the_dashboard_shows_metrics_that_exist,
        lambda f: set_dashboard(f, "GpuMemoryUsed", "GpuMemory"),
    ),
    Mutation(
        "a template that is too long for a request",
        alarms.the_template_can_be_sent,
        lambda f: setattr(f, "template_text", f"{f.template_text}\nMetadata: {{Text: {'x' * 6_000}}}\n"),
    ),
    Mutation(
        "a text in the template that is taken for a comment",
        alarms.the_template_can_be_sent,
        lambda f: setattr(f, "template_text", f.template_text.replace(" set -eu\n", " # set -eu\n")),
    ),
    Mutation(
        "a deployment that sends the comments as well",
        alarms.the_template_can_be_sent,
        lambda f: setattr(f, "deploy", f.deploy.replace("file://$PACKED", "file://$TEMPLATE")),
    ),
    Mutation(
        "a release that sends the comments as well",
        alarms.the_template_can_be_sent,
        lambda f: setattr(f, "release", f.release.replace('roll "$PACKED"', 'roll "$TEMPLATE"')),
    ),
    Mutation(
        "a placeholder without a value",
        alarms.placeholders_are_the_guides,
        lambda f: f.ecs[TASK].update(family="${FAMILY}"),
    ),
    Mutation(
        "a variable that is never set",
        alarms.the_example_configuration_is_served,
        lambda f: setattr(f, "cameras", f.cameras + "\n# ${NEVER_SET}"),
    ),
    Mutation(
        "no EMF",
        alarms.the_example_configuration_is_served,
        lambda f: setattr(f, "cameras", without(f.cameras, "emf: true")),
    ),
    Mutation(
        "a parameter that is not there",
        alarms.the_example_parameters_exist,
        lambda f: setattr(f, "parameters", f.parameters + "Nothing=1\n"),
    ),
    Mutation(
        "a metric that the program does not write any more",
        alarms.alarms_are_all_there,
        lambda f: setattr(f, "operations", without(f.operations, "| Service | `CamerasDown` |")),
    ),
]
