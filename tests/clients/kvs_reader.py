"""boto3 as a client of the local KVS. The Rust test that starts it checks what it brings back.

usage: kvs_reader.py TASK
TASK is JSON: {"endpoint", "create", "stream", "reads": [{"selector", "fragments", "output"}]}.
Makes the stream `create`, asks for the data endpoint of `stream`, and for each read writes what GetMedia sends to
`output` until `fragments` fragments are whole. Prints what the control plane said, as JSON.
"""

import json
import re
import sys
from typing import Any

import boto3

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
WHOLE = re.compile(rb"AWS_KINESISVIDEO_CONTINUATION_TOKEN.{0,16}?[0-9]{47}", re.DOTALL)


def read(media: Any, stream: str, selector: dict[str, str], fragments: int, output: str) -> None:
    payload = media.get_media(StreamName=stream, StartSelector=selector)["Payload"]
    body = b""
    # The pieces as the server sends them; read() would wait for more than a live stream has.
    for piece in payload._raw_stream.read_chunked():
        body += piece
        if len(WHOLE.findall(body)) >= fragments:
            break
    payload.close()
    with open(output, "wb") as file:
        file.write(body)


def main(task: dict[str, Any]) -> None:
    control = boto3.client("kinesisvideo", endpoint_url=task["endpoint"], **KEYS)
    created = control.create_stream(StreamName=task["create"], DataRetentionInHours=2, MediaType="video/h264")
    described = control.describe_stream(StreamARN=created["StreamARN"])["StreamInfo"]
    address = control.get_data_endpoint(StreamName=task["stream"], APIName="GET_MEDIA")["DataEndpoint"]
    media = boto3.client("kinesis-video-media", endpoint_url=address, **KEYS)
    for one in task["reads"]:
        read(media, task["stream"], **one)
    try:
        media.get_media(StreamName="absent", StartSelector={"StartSelectorType": "NOW"})
        refusal = None
    except media.exceptions.ResourceNotFoundException as error:
        refusal = error.response["ResponseMetadata"]["HTTPStatusCode"]
    answer = {
        "arn": created["StreamARN"],
        "described": described["StreamARN"],
        "created": described["CreationTime"].timestamp(),
        "hours": described["DataRetentionInHours"],
        "address": address,
        "refusal": refusal,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
