"""boto3 against the local KVS: each start selector, with what comes checked by its caller.

usage: get_media.py ENDPOINT STREAM SELECTOR [VALUE] FRAGMENTS OUTPUT
Reads until FRAGMENTS fragments are whole, and writes the bytes to OUTPUT.
"""

import sys

import boto3

KEYS = dict(aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1")
WHOLE = b"AWS_KINESISVIDEO_CONTINUATION_TOKEN"


def selector(kind, value):
    fields = {
        "FRAGMENT_NUMBER": lambda: {"AfterFragmentNumber": value},
        "CONTINUATION_TOKEN": lambda: {"ContinuationToken": value},
        "SERVER_TIMESTAMP": lambda: {"StartTimestamp": float(value)},
        "PRODUCER_TIMESTAMP": lambda: {"StartTimestamp": float(value)},
    }
    return {"StartSelectorType": kind, **fields.get(kind, dict)()}


def main(endpoint, stream, kind, value, fragments, output):
    control = boto3.client("kinesisvideo", endpoint_url=endpoint, **KEYS)
    address = control.get_data_endpoint(StreamName=stream, APIName="GET_MEDIA")["DataEndpoint"]
    media = boto3.client("kinesis-video-media", endpoint_url=address, **KEYS)
    payload = media.get_media(StreamName=stream, StartSelector=selector(kind, value))["Payload"]
    body = b""
    # The token's text follows its name: 4 bytes of head and 47 digits.
    while body.count(WHOLE) < int(fragments) or len(body) < body.rindex(WHOLE) + len(WHOLE) + 53:
        piece = payload._raw_stream.read1(65536)
        if not piece:
            break
        body += piece
    payload.close()
    with open(output, "wb") as file:
        file.write(body)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 5:
        arguments.insert(3, "")
    main(*arguments)
