"""Stands in for the AWS CLI in the life of one stack, and answers where moto does not as AWS does.

Deleted resources stay listed, names that are gone are errors, a protected host holds up its deletion, and a cluster
with a host in it cannot be deleted.

The state is kept in memory: `calls` are all calls so far, and `faults` what a case wants otherwise. The program `aws`
is a few lines of bash that hand the arguments over: starting Python for each call would take most of the time.
"""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import jmespath

State = dict[str, Any]


class CallError(Exception):
    """A call that fails, with the text of the AWS CLI."""


def fail(code: str, operation: str, text: str) -> NoReturn:
    """Ends a call as the AWS CLI does where the service refuses."""
    raise CallError(f"\nAn error occurred ({code}) when calling the {operation} operation: {text}\n")


def options(arguments: list[str]) -> dict[str, str]:
    """The values of the options; one without a value is there with an empty one."""
    found = {}
    for at, word in enumerate(arguments):
        if word.startswith("--"):
            following = arguments[at + 1 : at + 2]
            found[word] = following[0] if following and not following[0].startswith("--") else ""
    return found


class Aws:
    """The effects of the calls on the state, each a method by the name of its service and operation."""

    def __init__(self, state: State, words: list[str], given: dict[str, str]) -> None:
        self.state, self.words, self.given = state, words, given

    def stack(self, operation: str) -> State:
        """The stack, or the error that there is none."""
        if self.state["stack"] is None:
            fail("ValidationError", operation, f"Stack with id {self.given['--stack-name']} does not exist")
        return self.state["stack"]

    def live(self, name: str) -> bool:
        """Returns whether a resource of the stack exists."""
        listed = (self.state["stack"] or {}).get("resources", [])
        return any(item["LogicalResourceId"] == name and item["ResourceStatus"] != "DELETE_COMPLETE" for item in listed)

    # --- CloudFormation

    def cloudformation_describe_stacks(self) -> State:
        if "describe" in self.state["faults"]:
            fail("Throttling", "DescribeStacks", self.state["faults"]["describe"])
        stack = self.stack("DescribeStacks")
        if self.state["coming"]:
            stack["status"] = self.state["coming"].pop(0)
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in stack["parameters"].items()]
        return {"Stacks": [{"StackStatus": stack["status"], "Parameters": parameters}]}

    def cloudformation_list_stack_resources(self) -> State:
        return {"StackResourceSummaries": self.stack("ListStackResources")["resources"]}

    def cloudformation_describe_stack_events(self) -> State:
        return {"StackEvents": self.state["stack_events"]}

    def cloudformation_create_change_set(self) -> State:
        if len(Path(self.given["--template-body"].removeprefix("file://")).read_bytes()) > 51_200:
            fail("ValidationError", "CreateChangeSet", "Member must have length less than or equal to 51200")
        if self.given["--change-set-type"] == "CREATE":
            self.state["stack"] = {"status": "REVIEW_IN_PROGRESS", "resources": [], "parameters": {}}
        given = json.loads(self.given["--parameters"])
        self.stack("CreateChangeSet")["given"] = {
            item["ParameterKey"]: item["ParameterValue"] for item in given if "ParameterValue" in item
        }
        return {}

    def cloudformation_describe_change_set(self) -> State:
        return {"Changes": [], "StatusReason": "The submitted information didn't contain changes."}

    def cloudformation_delete_change_set(self) -> State:
        return {}

    def cloudformation_wait_change_set_create_complete(self) -> State:
        if self.state["faults"].get("unchanged"):
            raise CallError("Waiter ChangeSetCreateComplete failed\n")
        return {}

    def cloudformation_execute_change_set(self) -> State:
        self.stack("ExecuteChangeSet")["parameters"].update(self.state["stack"]["given"])
        self.state["coming"] = list(self.state["faults"].get("coming", ["UPDATE_COMPLETE"]))
        return {}

    def cloudformation_delete_stack(self) -> State:
        stack = self.stack("DeleteStack")
        if self.live("Hosts") and self.state["hosts"] and self.state["protected"]:
            stack["status"] = "DELETE_IN_PROGRESS"
        elif (self.live("Cluster") and self.state["cluster_hosts"]) or "delete" in self.state["faults"]:
            stack["status"] = "DELETE_FAILED"
            kept = self.state["faults"].get("delete", "Cluster")
            for item in stack["resources"]:
                item["ResourceStatus"] = "DELETE_FAILED" if item["LogicalResourceId"] == kept else "DELETE_COMPLETE"
        else:
            self.state["stack"] = None
        return {}

    def cloudformation_wait_stack_delete_complete(self) -> State:
        if self.state["stack"]:
            raise CallError("Waiter StackDeleteComplete failed: Waiter encountered a terminal failure state\n")
        return {}

    # --- ECS

    def ecs_update_service(self) -> State:
        if not self.live("Service"):
            fail("ServiceNotActiveException", "UpdateService", "Service was not ACTIVE.")
        if "update_service" in self.state["faults"]:
            fail("AccessDeniedException", "UpdateService", self.state["faults"]["update_service"])
        return {}

    def ecs_wait_services_stable(self) -> State:
        return {}

    def ecs_describe_services(self) -> State:
        return {"services": [{"events": [{"message": text} for text in self.state["service_events"]]}]}

    def ecs_list_container_instances(self) -> State:
        return {"containerInstanceArns": self.state["cluster_hosts"]}

    def ecs_deregister_container_instance(self) -> State:
        self.state["cluster_hosts"].remove(self.given["--container-instance"])
        return {}

    def application_autoscaling_register_scalable_target(self) -> State:
        self.state["suspended"] = (self.given["--resource-id"], self.given["--min-capacity"])
        return {}

    # --- hosts

    def group(self, operation: str) -> None:
        """The error that there is no such group, where it is gone."""
        if not self.live("Hosts"):
            fail("ValidationError", operation, "AutoScalingGroup name not found - null")

    def autoscaling_update_auto_scaling_group(self) -> State:
        self.group("UpdateAutoScalingGroup")
        self.state["desired"] = int(self.given.get("--desired-capacity") or self.state["desired"])
        return {}

    def autoscaling_set_instance_protection(self) -> State:
        self.group("SetInstanceProtection")
        self.state["protected"] = False
        return {}

    def autoscaling_describe_auto_scaling_groups(self) -> State:
        if not self.live("Hosts"):
            return {"AutoScalingGroups": []}
        if self.state["desired"] == 0 and self.state["faults"].pop("group_once", False):
            fail("Throttling", "DescribeAutoScalingGroups", "Rate exceeded")
        answer = {"AutoScalingGroups": [{"Instances": [{"InstanceId": host} for host in self.state["hosts"]]}]}
        if self.state["desired"] == 0 and not self.state["protected"]:
            self.state["hosts"] = self.state["hosts"][1:]
            # One whose agent is cut off says nothing to ECS when it ends.
            if not self.state["faults"].get("silent_agent"):
                self.state["cluster_hosts"] = self.state["cluster_hosts"][1:]
        return answer

    def autoscaling_describe_scaling_activities(self) -> State:
        return {"Activities": [{"StatusCode": "Failed", "StatusMessage": text} for text in self.state["refusals"]]}

    def autoscaling_start_instance_refresh(self) -> State:
        self.state["preferences"] = json.loads(self.given["--preferences"])
        return {"InstanceRefreshId": "refresh-1"}

    def autoscaling_describe_instance_refreshes(self) -> State:
        coming = self.state["refreshes"]
        return {
            "InstanceRefreshes": [
                {"Status": coming.pop(0) if len(coming) > 1 else coming[0], "StatusReason": "as it is"}
            ]
        }

    # --- what is asked before

    def sts_get_caller_identity(self) -> State:
        return {"Account": "123456789012"}

    def service_quotas_get_service_quota(self) -> State:
        return {"Quota": {"Value": 8.0}}

    def ec2_describe_instance_type_offerings(self) -> State:
        return {"InstanceTypeOfferings": [{"Location": zone} for zone in ("eu-west-1a", "eu-west-1b")]}

    def ec2_describe_availability_zones(self) -> State:
        # A Local Zone sorts first, and is left out by the filter only.
        local = [] if "zone-type" in self.given.get("--filters", "") else ["eu-west-1-bos-1a"]
        return {"AvailabilityZones": [{"ZoneName": zone} for zone in [*local, "eu-west-1a", "eu-west-1b"]]}

    def ec2_describe_vpc_endpoint_services(self) -> State:
        zones = self.state["faults"].get("video_zones", ["eu-west-1a", "eu-west-1b"])
        return {
            "ServiceDetails": [{"ServiceName": "com.amazonaws.eu-west-1.kinesisvideo", "AvailabilityZones": zones}]
            if zones
            else []
        }

    def ec2_describe_instances(self) -> State:
        return {"Reservations": [{"Instances": [{"ImageId": "ami-old"}]}]}

    def ssm_get_parameter(self) -> State:
        return {"Parameter": {"Value": "ami-new"}}

    def iam_create_service_linked_role(self) -> State:
        self.state["roles"].append(self.given["--aws-service-name"])
        fail(
            "InvalidInput",
            "CreateServiceLinkedRole",
            "Service role name has been taken in this account, please try a different suffix.",
        )

    def s3_cp(self) -> State:
        file, place = self.words[2:4]
        self.state["uploads"][place] = Path(file).read_text()
        return {}

    def s3_sync(self) -> State:
        return {}


def answered(state: State, arguments: list[str]) -> str:
    """Returns the output of one call."""
    words = []
    for word in arguments:
        if word.startswith("-"):
            break
        words.append(word)
    name = " ".join(words[: 3 if words[1] == "wait" else 2])
    state["calls"].append(name)
    given = options(arguments)
    answer = getattr(Aws(state, words, given), name.replace(" ", "_").replace("-", "_"))()
    found = jmespath.search(given["--query"], answer) if "--query" in given else answer
    if given.get("--output") != "text":
        return json.dumps(found) + "\n"
    found = "\t".join(found) if isinstance(found, list) else found
    return f"{'None' if found is None else found}\n"


CLIENT = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s\\0' "$#" "$@" >&3
read -r code <&3
if [[ $code == 0 ]]; then cat <&3; else cat <&3 >&2; fi
exit "$code"
"""


@contextmanager
def stand_in(state: State, program: Path) -> Iterator[None]:
    """Writes `program`, which stands in for the AWS CLI on this state."""

    class Call(socketserver.StreamRequestHandler):
        """One call: the number of arguments and each of them ended by a NUL; in return the exit code and the output."""

        def handle(self) -> None:
            count = int(self.word())
            try:
                code, text = 0, answered(state, [self.word() for _ in range(count)])
            except CallError as refusal:
                code, text = 254, str(refusal)
            # The script under test must see it fail.
            except Exception as unknown:
                code, text = 99, f"stand-in: {unknown!r}\n"
            self.wfile.write(f"{code}\n{text}".encode())

        def word(self) -> str:
            """The next argument."""
            read = bytearray()
            while (byte := self.rfile.read(1)) not in (b"\0", b""):
                read += byte
            return read.decode()

    with socketserver.TCPServer(("127.0.0.1", 0), Call) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        program.write_text(CLIENT.format(port=server.server_address[1]))
        program.chmod(0o755)
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
