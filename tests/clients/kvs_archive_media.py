"""boto3 as a client of the local KVS's tags, retention, clips and images. A Rust test starts it and checks the result.

usage: kvs_archive_media.py TASK
TASK is JSON: {"endpoint", "stream", "clip", "images", "first", "last"}.
Tags `stream` and changes its retention; writes the clip of its fragments from `first` to `last` (seconds since 1970, by
the producer's clock) to `clip` and pictures of that time, one each 500 ms and a page of 3, as PNG and JPEG into the
folder `images`. Prints what it saw and what was refused, as JSON.
"""

import base64
import json
import pathlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
ONCE = Config(retries={"total_max_attempts": 1})


def client(service: str, endpoint: str, region: str = "us-east-1") -> Any:
    return boto3.client(service, endpoint_url=endpoint, region_name=region, config=ONCE, **KEYS)


def refusal(call: Callable[..., object], **request: object) -> tuple[str, int] | None:
    try:
        call(**request)
    except ClientError as error:
        return type(error).__name__, error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


def tag(control: Any, stream: str) -> dict[str, str]:
    control.tag_stream(StreamName=stream, Tags={"door": "north", "floor": "1"})
    control.untag_stream(StreamName=stream, TagKeyList=["floor"])
    return control.list_tags_for_stream(StreamName=stream)["Tags"]


def retain(control: Any, stream: str) -> tuple[int, tuple[str, int] | None]:
    version = control.describe_stream(StreamName=stream)["StreamInfo"]["Version"]
    change = {"StreamName": stream, "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 24}
    control.update_data_retention(CurrentVersion=version, **change)
    refused = refusal(control.update_data_retention, CurrentVersion=version, **change)
    return control.describe_stream(StreamName=stream)["StreamInfo"]["DataRetentionInHours"], refused


def fetch_clip(control: Any, task: dict[str, Any], times: dict[str, datetime]) -> str:
    address = control.get_data_endpoint(StreamName=task["stream"], APIName="GET_CLIP")["DataEndpoint"]
    archive = client("kinesis-video-archived-media", address)
    selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": times}
    answer = archive.get_clip(StreamName=task["stream"], ClipFragmentSelector=selector)
    pathlib.Path(task["clip"]).write_bytes(answer["Payload"].read())
    return answer["ContentType"]


def fetch_images(
    control: Any, task: dict[str, Any], times: dict[str, datetime], **options: Any
) -> list[list[list[object]]]:
    address = control.get_data_endpoint(StreamName=task["stream"], APIName="GET_IMAGES")["DataEndpoint"]
    pages = (
        client("kinesis-video-archived-media", address)
        .get_paginator("get_images")
        .paginate(
            StreamName=task["stream"],
            ImageSelectorType="PRODUCER_TIMESTAMP",
            SamplingInterval=500,
            PaginationConfig={"PageSize": 3},
            **times,
            **options,
        )
    )
    folder = pathlib.Path(task["images"])
    seen: list[list[list[object]]] = []
    for page in pages:
        seen.append([])
        for image in page["Images"]:
            ms = round(image["TimeStamp"].timestamp() * 1000)
            seen[-1].append([ms, image.get("Error")])
            if "ImageContent" in image:
                file = folder / f"{ms}.{options['Format'].lower()}"
                file.write_bytes(base64.b64decode(image["ImageContent"]))
    return seen


def main(task: dict[str, Any]) -> None:
    control = client("kinesisvideo", task["endpoint"])
    elsewhere = client("kinesisvideo", task["endpoint"], "eu-west-1")
    first, last = (datetime.fromtimestamp(task[end], UTC) for end in ("first", "last"))
    times = {"StartTimestamp": first, "EndTimestamp": last}
    hours, stale = retain(control, task["stream"])
    small = {"WidthPixels": 64, "HeightPixels": 64, "FormatConfig": {"JPEGQuality": "50"}}
    answer = {
        "tags": tag(control, task["stream"]),
        "hours": hours,
        "stale": stale,
        "kind": fetch_clip(control, task, times),
        "png": fetch_images(control, task, times, Format="PNG"),
        "jpeg": fetch_images(control, task, times, Format="JPEG", **small),
        "elsewhere": refusal(elsewhere.describe_stream, StreamName=task["stream"]),
        "token": refusal(control.list_streams, NextToken="abc"),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
