"""boto3 as a client of the local KVS's archive. The Rust test that starts it checks what it brings back.

usage: kvs_archive.py TASK
TASK is JSON: {"endpoint", "stream", "kind", "first", "last", "page", "output"}.
Asks for the data endpoints of `stream`, lists its fragments of `kind` from `first` to `last` (seconds since 1970),
`page` at a time, and writes their media in the order of their numbers to `output`. Prints the list and what was
refused, as JSON. The first ListFragments is expected to be throttled.
"""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
ONCE = Config(retries={"total_max_attempts": 1})


def client(control: Any, task: dict[str, Any], api: str) -> Any:
    address = control.get_data_endpoint(StreamName=task["stream"], APIName=api)["DataEndpoint"]
    return boto3.client("kinesis-video-archived-media", endpoint_url=address, config=ONCE, **KEYS)


def refusal(call: Callable[..., object], **request: object) -> tuple[str, int] | None:
    try:
        call(**request)
    except ClientError as error:
        return type(error).__name__, error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


def pages(archive: Any, task: dict[str, Any], selector: dict[str, Any]) -> Iterator[list[Any]]:
    paginator = archive.get_paginator("list_fragments")
    options = {"PageSize": task["page"]}
    for page in paginator.paginate(StreamName=task["stream"], FragmentSelector=selector, PaginationConfig=options):
        yield page["Fragments"]


def describe(fragment: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": fragment["FragmentNumber"],
        "bytes": fragment["FragmentSizeInBytes"],
        "producer": fragment["ProducerTimestamp"].timestamp(),
        "server": fragment["ServerTimestamp"].timestamp(),
        "length_ms": fragment["FragmentLengthInMilliseconds"],
    }


def main(task: dict[str, Any]) -> None:
    control = boto3.client("kinesisvideo", endpoint_url=task["endpoint"], **KEYS)
    archive = client(control, task, "LIST_FRAGMENTS")
    first, last = (datetime.fromtimestamp(task[end], UTC) for end in ("first", "last"))
    selector = {
        "FragmentSelectorType": task["kind"],
        "TimestampRange": {"StartTimestamp": first, "EndTimestamp": last},
    }
    throttled = refusal(archive.list_fragments, StreamName=task["stream"], FragmentSelector=selector)
    listed = [[describe(fragment) for fragment in page] for page in pages(archive, task, selector)]
    numbers = sorted(fragment["number"] for page in listed for fragment in page)
    archive = client(control, task, "GET_MEDIA_FOR_FRAGMENT_LIST")
    answer = archive.get_media_for_fragment_list(StreamName=task["stream"], Fragments=numbers)
    with open(task["output"], "wb") as file:
        file.write(answer["Payload"].read())
    absent = refusal(archive.get_media_for_fragment_list, StreamName="absent", Fragments=numbers)
    print(json.dumps({"pages": listed, "throttled": throttled, "absent": absent}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
