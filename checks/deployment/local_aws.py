"""A local AWS (moto) for the checks, with the real AWS CLI, and stand-ins that note what is run."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import boto3

# Read by moto while it is loaded.
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
from moto.cloudformation.parsing import ResourceMap
from moto.server import ThreadedMotoServer

from checks.repository import ROOT

RecordedCall = dict[str, Any]
REGION = "ap-southeast-1"
RECORDED_PROGRAM = Path(__file__).with_name("recorded_program.py")


@dataclass
class LocalAws:
    """A running server, and a folder for what commands leave."""

    endpoint: str
    folder: Path

    def client(self, service: str) -> Any:
        """A boto3 client of a service."""
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **keys)

    def environment(self) -> dict[str, str]:
        """Returns the variables with which a shell's `aws` calls this one, and its `docker` is a stand-in."""
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            # The AWS CLI v2 takes AWS_REGION, which the document sets; this one, of PyPI, only the other name.
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": "1",
            "REAL_AWS": str(Path(sys.executable).with_name("aws")),
            "CALLS": str(self.folder / "calls"),
        }

    def calls(self) -> list[RecordedCall]:
        """The calls noted since the last time that this was asked."""
        file = self.folder / "calls"
        noted = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in noted]

    def bash(self, script: str, folder: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a script here."""
        return subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=self.environment() | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def keep_what_is_kept() -> None:
    """Teaches moto RetainExceptOnCreate: it deletes what has it with the stack, as if there were no policy."""
    delete = ResourceMap.delete

    def spare(stack: ResourceMap) -> None:
        for item in stack._resource_json_map.values():
            if item.get("DeletionPolicy") == "RetainExceptOnCreate":
                item["DeletionPolicy"] = "Retain"
        delete(stack)

    ResourceMap.delete = spare


keep_what_is_kept()


@contextmanager
def local_aws() -> Iterator[LocalAws]:
    """One that has nothing but a default network, on a port of its own."""
    for noisy in ("werkzeug", "moto"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        with TemporaryDirectory() as folder:
            stand_ins(Path(folder) / "bin")
            older_protocol(Path(folder), "cloudwatch/2010-08-01/service-2.json")
            host, port = server.get_host_and_port()
            aws = LocalAws(f"http://{host}:{port}", Path(folder))
            # Its state is the process's: what an earlier one had is there.
            urlopen(Request(f"{aws.endpoint}/moto-api/reset", method="POST")).close()
            yield aws
    finally:
        server.stop()


def stand_ins(folder: Path) -> None:
    """Programs whose use is noted, in a folder that comes first in PATH."""
    folder.mkdir()
    for name in ("aws", "docker", "make", "kvs-infer"):
        file = folder / name
        file.write_text(f'#!/bin/bash\nexec "{sys.executable}" "{RECORDED_PROGRAM}" {name} "$@"\n')
        file.chmod(0o755)


def older_protocol(home: Path, model: str) -> None:
    """Lets the AWS CLI of this home speak the query protocol with a service, since moto knows no other for it."""
    # Its package must not be imported: it puts its own botocore before that of boto3.
    data = Path(boto3.__file__).parents[1] / "awscli/botocore/data"
    described = json.loads((data / model).read_text())
    described["metadata"] |= {"protocol": "query", "protocols": ["query"]}
    file = home / ".aws/models" / model
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(described))


def default_network(aws: LocalAws) -> dict[str, str]:
    """Returns the default network, as parameters of the stack."""
    ec2 = aws.client("ec2")
    vpc = next(item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"] if item["IsDefault"])
    mine = [{"Name": "vpc-id", "Values": [vpc]}]
    subnets = [item["SubnetId"] for item in ec2.describe_subnets(Filters=mine)["Subnets"]][:2]
    tables = [item["RouteTableId"] for item in ec2.describe_route_tables(Filters=mine)["RouteTables"]]
    return {"VpcId": vpc, "SubnetIds": ",".join(subnets), "RouteTableIds": ",".join(tables)}
