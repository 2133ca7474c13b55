"""Shows three workers that share six cameras, kills one of them, and counts what its cameras missed.

usage: demo_cluster.py PROGRAM     (make demo-cluster)

Everything runs on this machine: moto as DynamoDB and Kinesis, the program's own Kinesis Video Streams, three workers.
Whoever kills a worker sooner (its process id is printed) is welcome: the demonstration continues with that one.
"""

import collections
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3

HERE = pathlib.Path(__file__).resolve().parent
WORKERS = 3
# Stream and clip of each camera.
CAMERAS = {
    "street": "street",
    "gate": "gate",
    "yard": "yard",
    "street-2": "street",
    "gate-2": "gate",
    "yard-2": "yard",
}
FIRST_FRAME = "first frame of the camera here"
START_LIMIT_S, SETTLE_S, TAKEOVER_LIMIT_S, AFTERWARDS_S = 60, 40, 30, 12


class Worker:
    """A running worker with its log."""

    def __init__(self, number: int, program: str, folder: pathlib.Path, environment: dict[str, str]) -> None:
        self.number, self.port = number, free_port()
        own = folder / f"worker-{number}"
        own.mkdir()
        self.log = own / "log.jsonl"
        command = [program, "run", "--config", str(folder / "cameras.yaml"), "--http-port", str(self.port)]
        # The page is open to this host alone.
        command += ["--http-host", "127.0.0.1"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=own, env=environment, stdout=log, stderr=log)

    @property
    def name(self) -> str:
        return f"worker {self.number}"

    def lines(self) -> Iterator[dict[str, Any]]:
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    def ids(self) -> set[str]:
        """The ids under which the worker has joined the pool."""
        return {line["worker"] for line in self.lines() if line.get("message") == "joins the pool"}

    def first_frames(self) -> dict[tuple[str, int], str]:
        """The time of the first frame of each camera under each epoch."""
        lines = (line for line in self.lines() if line.get("message") == FIRST_FRAME)
        return {(line["camera"], line["epoch"]): line["timestamp"] for line in lines}


class Cluster:
    """The local services and the workers."""

    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self.folder, aws_port, kvs_port = folder, free_port(), free_port()
        aws, kvs = f"http://127.0.0.1:{aws_port}", f"http://127.0.0.1:{kvs_port}"
        self.services = [
            self.service("aws", [sys.executable, "-u", str(HERE / "local_aws.py"), "-p", str(aws_port)]),
            self.service("kvs", [program, "sim", "--listen", f"127.0.0.1:{kvs_port}", *played()]),
        ]
        until(START_LIMIT_S, "the local AWS", lambda: answers(aws))
        keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_REGION": "us-east-1"}
        endpoints = {"AWS_ENDPOINT_URL": aws, "AWS_ENDPOINT_URL_KINESIS_VIDEO": kvs}
        environment = {**os.environ, **keys, **endpoints}
        session = boto3.Session("demo", "demo", region_name="us-east-1")
        self.items, self.stream = (
            session.client("dynamodb", endpoint_url=aws),
            session.client("kinesis", endpoint_url=aws),
        )
        self.make_tables()
        (folder / "cameras.yaml").write_text(configuration())
        self.workers = [Worker(number, program, folder, environment) for number in range(1, WORKERS + 1)]

    def service(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def make_tables(self) -> None:
        for table, keys in (("positions", ["camera_id"]), ("workers", ["pool", "member"])):
            kinds = ["HASH", "RANGE"]
            self.items.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, kinds, strict=False)],
            )
        self.stream.create_stream(StreamName="events", ShardCount=1)

    def owners(self) -> dict[str, tuple[Worker, int]]:
        """The worker of each camera and its epoch, as the table has it."""
        workers = {name: worker for worker in self.workers for name in worker.ids()}
        found = {}
        for item in self.items.scan(TableName="positions", ConsistentRead=True)["Items"]:
            worker = workers.get(item.get("owner", {}).get("S", ""))
            if worker:
                found[item["camera_id"]["S"]] = (worker, int(item["epoch"]["N"]))
        return found

    def running(self) -> dict[str, Worker]:
        """The worker of each camera that has looked at a frame of it, and lives."""
        owners = self.owners().items()
        return {
            camera: worker
            for camera, (worker, epoch) in owners
            if worker.process.poll() is None and (camera, epoch) in worker.first_frames()
        }

    def records(self) -> list[dict[str, Any]]:
        shard = self.stream.list_shards(StreamName="events")["Shards"][0]["ShardId"]
        start = self.stream.get_shard_iterator(StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        iterator, records = start["ShardIterator"], []
        while got := self.stream.get_records(ShardIterator=iterator, Limit=1000):
            if not got["Records"]:
                break
            records += [json.loads(record["Data"]) for record in got["Records"]]
            iterator = got["NextShardIterator"]
        return records

    def stop(self) -> None:
        processes = [worker.process for worker in self.workers]
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        for process in [*processes, *self.services]:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def until(limit_s: float, what: str, is_reached: Any) -> None:
    """Waits until something is so.

    Raises: TimeoutError if it takes longer than the limit.
    """
    end = time.monotonic() + limit_s
    while not is_reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} took more than {limit_s:.0f} s")
        time.sleep(0.2)


def cache() -> pathlib.Path:
    return pathlib.Path(os.environ["KVS_INFER_CACHE"])


def played() -> list[str]:
    clips = ((stream, cache() / "clips" / f"{clip}.mp4") for stream, clip in CAMERAS.items())
    return [argument for stream, clip in clips for argument in ("--play", f"{stream}={clip},loop")]


def configuration() -> str:
    camera = (
        "  - id: {0}\n    kvs_stream_name: {0}\n    fps_target: 4\n    pipeline:\n      - type: objects\n"
        "        objects: {{ yolo_weights: {1} }}\n"
    )
    cameras = "".join(camera.format(name, cache() / "models" / "street.onnx") for name in CAMERAS)
    return (
        "publishers: { kds_stream: events }\nstate: { dir: state, ddb_table: positions }\n"
        f"sharing: {{ table: workers }}\ndevice: cpu\ncameras:\n{cameras}"
    )


def show(cluster: Cluster) -> None:
    cameras = collections.defaultdict(list)
    for camera, worker in cluster.running().items():
        cameras[worker.number].append(camera)
    for worker in cluster.workers:
        state = (
            "ended" if worker.process.poll() is not None else ", ".join(sorted(cameras[worker.number])) or "no camera"
        )
        print(f"  {worker.name}  http://127.0.0.1:{worker.port}  process {worker.process.pid}  {state}")


def has_ended(cluster: Cluster) -> bool:
    return any(worker.process.poll() is not None for worker in cluster.workers)


def is_spread(cluster: Cluster) -> bool:
    """Returns whether each worker runs a camera, or one was killed already."""
    running = {worker.number for worker in cluster.running().values()}
    return len(running) == WORKERS or has_ended(cluster)


def kill_one(cluster: Cluster) -> Worker:
    """Kills the worker with the most cameras, unless one has ended already."""
    for worker in cluster.workers:
        if worker.process.poll() is not None:
            return worker
    count = collections.Counter(worker.number for worker in cluster.running().values())
    victim = max(cluster.workers, key=lambda worker: count[worker.number])
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    return victim


def report(cluster: Cluster, before: dict[str, Worker], victim: Worker, blind_s: dict[str, float]) -> int:
    """Prints what became of each camera; returns the number of missing events."""
    after, missing = cluster.running(), 0
    records = collections.defaultdict(list)
    for record in cluster.records():
        records[record["camera_id"]].append(record["seq"])
    row = "{:10} {:10} {:10} {:17} {:>7} {:>8} {:>9}".format
    print("\n" + row("camera", "before", "after", "without a worker", "events", "missing", "repeated"))
    for camera in CAMERAS:
        seqs = records[camera]
        absent = max(seqs, default=0) - len(set(seqs))
        missing += absent
        blind = f"{blind_s[camera]:.1f} s" if camera in blind_s else "-"
        names = [worker.name if worker else "none" for worker in (before.get(camera), after.get(camera))]
        print(row(camera, *names, blind, len(seqs), absent, len(seqs) - len(set(seqs))))
    longest = max(blind_s.values(), default=0)
    print(f"\n{victim.name} was lost with {len(blind_s)} cameras: back after {longest:.1f} s, {missing} events missing")
    return missing


def demonstrate(cluster: Cluster) -> int:
    print(f"{WORKERS} workers share {len(CAMERAS)} cameras; each has a page of its own:")
    until(START_LIMIT_S, "the start of all cameras", lambda: len(cluster.running()) == len(CAMERAS))
    show(cluster)
    print("Cameras move while one worker carries much more than the others (up to 40 s).")
    with contextlib.suppress(TimeoutError):
        until(SETTLE_S, "spreading the load", lambda: is_spread(cluster))
    show(cluster)
    before = cluster.running()
    victim = kill_one(cluster)
    killed = time.monotonic()
    lost = [camera for camera, worker in before.items() if worker is victim]
    print(f"{victim.name} is killed; its cameras: {', '.join(sorted(lost))}")
    blind_s: dict[str, float] = {}

    def all_are_back() -> bool:
        for camera in set(lost) & set(cluster.running()) - set(blind_s):
            blind_s[camera] = time.monotonic() - killed
        return set(lost) == set(blind_s)

    until(TAKEOVER_LIMIT_S, "the takeover", all_are_back)
    show(cluster)
    time.sleep(AFTERWARDS_S)
    return report(cluster, before, victim, blind_s)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(folder))
        try:
            return 1 if demonstrate(cluster) else 0
        except TimeoutError as error:
            logs = [f"{worker.name}: {worker.log.read_text()[-2000:]}" for worker in cluster.workers]
            print(f"demo-cluster: {error}", *logs, sep="\n", file=sys.stderr)
            return 1
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
