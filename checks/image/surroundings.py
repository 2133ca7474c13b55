"""The surroundings of a task: a local AWS (moto), a local KVS (the image's own `sim`), and the folders of the host."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from checks.image.podman import answers, container, free_port, until

USER = 10001
CONFIG = """
publishers: {{ kds_stream: events, s3_bucket: pictures, ddb_table: incidents }}
device: {device}
cameras:
  - id: street
    kvs_stream_name: street
    fps_target: 5
    pipeline:
      - type: objects
        objects: {{ yolo_weights: /app/models/street.onnx }}
"""


def cache() -> Path:
    """Returns the folder that scripts/setup filled."""
    return Path(os.environ["KVS_INFER_CACHE"])


def client(address: str, service: str) -> Any:
    """Returns a client of a service of the local AWS."""
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=address, config=Config(s3={"addressing_style": "path"}), **keys)


@contextmanager
def local_aws(folder: Path) -> Iterator[str]:
    """Runs moto with a stream, a bucket and a table; gives its address."""
    port = free_port()
    with (folder / "moto.log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until("the local AWS answers", lambda: answers(port))
        make_destinations(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def make_destinations(address: str) -> None:
    """Makes the stream, the bucket and the table that CONFIG names."""
    client(address, "kinesis").create_stream(StreamName="events", ShardCount=1)
    client(address, "s3").create_bucket(Bucket="pictures")
    keys = [("event_id", "S", "HASH"), ("ts_ms", "N", "RANGE")]
    client(address, "dynamodb").create_table(
        TableName="incidents",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in keys],
        KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in keys],
    )


def records(address: str) -> list[Any]:
    """Returns the records of the data stream."""
    kinesis = client(address, "kinesis")
    shard = kinesis.list_shards(StreamName="events")["Shards"][0]["ShardId"]
    start = kinesis.get_shard_iterator(StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    listed: list[Any] = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
    return listed


@contextmanager
def local_kvs(image: str) -> Iterator[str]:
    """Plays the street over and over from the image's own local KVS; gives its address."""
    port = free_port()
    clip = f"--volume={cache() / 'clips/street.mp4'}:/clips/street.mp4:ro"
    play = ["sim", "--listen", f"127.0.0.1:{port}", "--play", "street=/clips/street.mp4,loop"]
    with container(image, *play, flags=[clip]):
        until("the image's local KVS answers", lambda: answers(port))
        yield f"http://127.0.0.1:{port}"


def volumes(folder: Path, device: str) -> list[str]:
    """Makes configuration, models and cache on the host, and returns the flags that mount them as the task does."""
    for name in ("config", "models", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / "config/cameras.yaml").write_text(CONFIG.format(device=device))
    shutil.copy(cache() / "models/street.onnx", folder / "models/street.onnx")
    os.chown(folder / "cache", USER, USER)
    mounts = [("config", "/app/config:ro"), ("models", "/app/models:ro"), ("cache", "/app/.cache")]
    return [f"--volume={folder / name}:{place}" for name, place in mounts]
