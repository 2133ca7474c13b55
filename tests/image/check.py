#!/usr/bin/env python3
"""Builds the image with podman from the Dockerfile as it is, and runs it as ECS would. usage: check.py [cpu] [gpu]

Non-root, no capabilities, a read-only root, volumes for configuration, models and cache; cameras from a local KVS (the same
image's `sim`), events to a local AWS (moto). Prints one line per check; exit code 1 if one fails.

Without a GPU the GPU image must say why it runs on the CPU, and work; and refuse where `device: cuda` asks for one.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ["KVS_INFER_CACHE"])
USER = 10001
# Unpacked, bytes; docs/container.md names them.
MAX_BYTES = {"cpu": 300e6, "gpu": 2.6e9}
DRAIN_S = 10
PATIENCE_S = 90
AS_ON_ECS = ["--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges", "--pull=never"]
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
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

failures = []


def report(what, found):
    """Prints how it is; `found` is what is wrong, if anything."""
    print(f"FAILED: {what}: {found}" if found else f"ok: {what}", flush=True)
    if found:
        failures.append(what)


def podman(*arguments, check=True):
    """What it says on standard output."""
    ran = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    if check and ran.returncode:
        sys.exit(f"podman {' '.join(arguments)}: {ran.stderr}")
    return ran.stdout.strip()


def logs(name):
    """What a container has said, on both outputs."""
    return subprocess.run(["podman", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, ready):
    """Waits until `ready` gives something, which it gives; says so if it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := ready():
            report(what, "")
            return found
        time.sleep(0.5)
    report(what, f"not within {PATIENCE_S} s")
    return None


# The image

def image_of(variant):
    """Builds it; its name."""
    image = f"localhost/kvs-infer:test-{variant}"
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        # The stand-ins have the tags of the base images, not their digests.
        file.write(re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / "Dockerfile").read_text()))
        file.flush()
        flags = f"BUILD_FLAGS=--pull=never --network=host --file={file.name}"
        subprocess.run(["make", "-C", ROOT, "docker-build", f"IMG={image}", f"VARIANT={variant}", "DOCKER=podman", flags], check=True)
    return image


def look_at_image(variant, image):
    """What can be said without running it."""
    about = json.loads(podman("image", "inspect", image))[0]
    config = about["Config"]
    size = about["Size"]
    report(f"{variant}: {size / 1e6:.0f} MB unpacked, {MAX_BYTES[variant] / 1e6:.0f} may be", "" if size <= MAX_BYTES[variant] else "too large")
    report("the user is not root", "" if config["User"] == f"{USER}:{USER}" else config["User"])
    report("8080 is exposed", "" if "8080/tcp" in config["ExposedPorts"] else config["ExposedPorts"])
    check = (about.get("HealthCheck") or config.get("Healthcheck") or {}).get("Test")
    report("its health check is the program's", "" if check == ["CMD", "kvs-infer", "healthcheck"] else check)
    lines = inside(image, "cat /usr/share/doc/kvs-infer/LICENCES")
    parts = ["Apache License", "LGPL version 2.1", "onnxruntime", "==== tokio ", "GNU C Library"] + (["NVIDIA"] if variant == "gpu" else ["Third Party Programs File"])
    report("one file has all licences", [part for part in parts if part not in lines])
    parts = json.loads(inside(image, "cat /usr/share/doc/kvs-infer/sbom.json"))["components"]
    kinds = {kind: sum(part["purl"].startswith(f"pkg:{kind}/") for part in parts) for kind in ("cargo", "deb", "pypi")}
    names = {part["name"] for part in parts}
    report(f"its bill of materials has all kinds: {kinds}", "" if all(kinds.values()) and {"tokio", "ffmpeg", "tini"} <= names else sorted(names)[:20])
    missing = inside(image, "ldd /usr/local/bin/kvs-infer /opt/ffmpeg/lib/*.so.* $(find /opt/onnxruntime -name '*.so*')").splitlines()
    names = {line.split()[0] for line in missing if "not found" in line}
    report(f"ldd misses nothing but the driver's: {sorted(names)}", "" if names <= {"libcuda.so.1"} else names)
    report("bash and curl are there", "" if "curl" in inside(image, "curl --version") else "not")
    report("the program and tini alone run", "" if config["Entrypoint"] == ["tini", "--", "kvs-infer"] else config["Entrypoint"])


def inside(image, command):
    """What a command says in a container of the image."""
    return podman("run", "--rm", *AS_ON_ECS, "--entrypoint=bash", image, "-c", command)


# What it runs against

@contextmanager
def local_aws(folder):
    """moto with a stream, a bucket and a table; its address."""
    port = free_port()
    with (folder / "moto.log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until("the local AWS answers", lambda: answers(port))
        client(address, "kinesis").create_stream(StreamName="events", ShardCount=1)
        client(address, "s3").create_bucket(Bucket="pictures")
        keys = [("event_id", "S", "HASH"), ("ts_ms", "N", "RANGE")]
        client(address, "dynamodb").create_table(
            TableName="incidents",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in keys],
            KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in keys],
        )
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def client(address, service):
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=address, config=Config(s3={"addressing_style": "path"}), **keys)


@contextmanager
def container(image, *arguments, flags=(), environment=None):
    """A running container, removed afterwards; its name."""
    settings = [f"--env={name}={value}" for name, value in ({**KEYS, **(environment or {})}).items()]
    name = podman("run", "--detach", *AS_ON_ECS, *settings, *flags, image, *arguments)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time=0", name, check=False)


@contextmanager
def local_kvs(image):
    """The street over and over, from the image's own local KVS; its address."""
    port = free_port()
    clip = f"--volume={CACHE / 'clips/street.mp4'}:/clips/street.mp4:ro"
    play = ["sim", "--listen", f"127.0.0.1:{port}", "--play", "street=/clips/street.mp4,loop"]
    with container(image, *play, flags=[clip]):
        until("the image's local KVS answers", lambda: answers(port))
        yield f"http://127.0.0.1:{port}"


def volumes(folder, device):
    """Configuration, models and cache on the host, as the task definition mounts them."""
    for name in ("config", "models", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / "config/cameras.yaml").write_text(CONFIG.format(device=device))
    shutil.copy(CACHE / "models/street.onnx", folder / "models/street.onnx")
    os.chown(folder / "cache", USER, USER)
    mounts = [("config", "/app/config:ro"), ("models", "/app/models:ro"), ("cache", "/app/.cache")]
    return [f"--volume={folder / name}:{place}" for name, place in mounts]


# The runs

def runs(variant, image, folder):
    """The task from its start to its stop."""
    with local_aws(folder) as aws, local_kvs(image) as kvs:
        port = free_port()
        environment = {"HTTP_PORT": port, "LOG_FORMAT": "json", "AWS_ENDPOINT_URL": aws, "AWS_ENDPOINT_URL_KINESIS_VIDEO": kvs}
        with container(image, flags=volumes(folder / "auto", "auto"), environment=environment) as name:
            watch(variant, name, port, aws)
            stop(name)
        refuses(variant, image, folder, environment)


def watch(variant, name, port, aws):
    """It becomes healthy, and what it sees arrives."""
    until("health goes healthy", lambda: subprocess.run(["podman", "healthcheck", "run", name], capture_output=True, check=False).returncode == 0)
    ready = ["exec", name, "curl", "-fsS", f"http://localhost:{port}/readyz"]
    report("curl finds /readyz inside", "" if "ready" in podman(*ready, check=False) else logs(name))
    until("an event arrives in the data stream", lambda: records(aws))
    until("its picture arrives in the bucket", lambda: client(aws, "s3").list_objects_v2(Bucket="pictures").get("Contents"))
    until("its record arrives in the table", lambda: client(aws, "dynamodb").scan(TableName="incidents")["Items"])
    status = podman("exec", name, "grep", "-E", "^(Uid|CapEff|CapBnd|NoNewPrivs)", "/proc/1/status").split()
    wanted = ["Uid:", *[str(USER)] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    report("no root, no capability, no new privilege", "" if status == wanted else status)
    wrote = podman("exec", name, "bash", "-c", "touch /usr/x /app/x 2>&1; touch /tmp/x /app/.cache/x && echo could", check=False).splitlines()
    report("only /tmp and the cache can be written", "" if len(wrote) == 3 and wrote[2] == "could" else wrote)
    log = logs(name)
    if variant == "gpu":
        why = [line for line in log.splitlines() if "no NVIDIA driver here (libcuda.so.1 is missing)" in line]
        report(f"without a GPU it says why it runs on the CPU: {why[:1]}", "" if why else log[-2000:])


def records(aws):
    kinesis = client(aws, "kinesis")
    shard = kinesis.list_shards(StreamName="events")["Shards"][0]["ShardId"]
    start = kinesis.get_shard_iterator(StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    return kinesis.get_records(ShardIterator=start)["Records"]


def stop(name):
    """SIGTERM: it delivers what it has, and ends well."""
    began = time.monotonic()
    podman("stop", "--time=30", name)
    took = time.monotonic() - began
    code = podman("inspect", "--format={{.State.ExitCode}}", name)
    report(f"SIGTERM drains in {took:.1f} s, {DRAIN_S} may be", "" if took < DRAIN_S and code == "0" else f"exit code {code}")


def refuses(variant, image, folder, environment):
    """`device: cuda` without a GPU is an error, not a slow service."""
    with container(image, flags=volumes(folder / "cuda", "cuda"), environment=environment) as name:
        code = podman("wait", name)
        log = logs(name)
    report(f"{variant}: device: cuda is refused with exit code {code}", "" if code == "78" else log)
    missing = {"cpu": "CUDA", "gpu": "no NVIDIA driver here (libcuda.so.1 is missing)"}[variant]
    why = [line for line in log.splitlines() if missing in line]
    report(f"and says what is missing: {why[-1:]}", "" if why else log)


def main():
    variants = sys.argv[1:] or ["cpu", "gpu"]
    linted = subprocess.run([pathlib.Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    report("hadolint", linted.stdout)
    for variant in variants:
        image = image_of(variant)
        look_at_image(variant, image)
        with tempfile.TemporaryDirectory() as folder:
            runs(variant, image, pathlib.Path(folder))
    print(f"image-test: {len(failures)} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
