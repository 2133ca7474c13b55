"""Rules of the task role's permissions: each action on exactly the resources that the program calls it on."""

import re
from typing import Any

from checks.deployment import iam_actions
from checks.deployment.files import Files
from checks.deployment.rules.registry import rule
from checks.deployment.rules.trees import text_of
from checks.tables import expect

# The index by which the history is read.
INDEX = "camera_id-ts_ms-index"
VIDEO, RECORDS, POSITIONS, WORKERS = "video streams", "table of records", "table of positions", "table of workers"
SNAPSHOTS, CONFIGURATION, MODELS, BUCKET = "snapshots", "configuration", "models", "bucket"
RECORDS_INDEX = f"{INDEX} of the records"
# The resources of each action. Those that only ECS Exec or a key of one's own needs are left out.
RESOURCES = {
    "kinesisvideo:DescribeStream": {VIDEO},
    "kinesisvideo:GetDataEndpoint": {VIDEO},
    "kinesisvideo:GetHLSStreamingSessionURL": {VIDEO},
    "kinesisvideo:GetMedia": {VIDEO},
    "kinesisvideo:GetMediaForFragmentList": {VIDEO},
    "kinesisvideo:ListFragments": {VIDEO},
    "kinesis:DescribeStreamSummary": {"data stream"},
    "kinesis:PutRecords": {"data stream"},
    "sns:GetTopicAttributes": {"topics"},
    "sns:Publish": {"topics"},
    # Pictures and clips are written under the prefix of the snapshots, and read from there.
    "s3:PutObject": {SNAPSHOTS},
    "s3:GetObject": {SNAPSHOTS, CONFIGURATION, MODELS},
    "s3:ListBucket": {BUCKET},
    "dynamodb:BatchGetItem": {POSITIONS, WORKERS},
    "dynamodb:DeleteItem": {WORKERS},
    "dynamodb:DescribeTable": {RECORDS, POSITIONS, WORKERS},
    "dynamodb:DescribeTimeToLive": {RECORDS, POSITIONS},
    "dynamodb:GetItem": {POSITIONS, WORKERS},
    "dynamodb:PutItem": {RECORDS, POSITIONS, WORKERS},
    "dynamodb:Query": {RECORDS, RECORDS_INDEX, WORKERS},
    "dynamodb:UpdateItem": {RECORDS, POSITIONS, WORKERS},
}
ON_THE_ACCOUNT = "${AWS::Region}:${AWS::AccountId}"
# The resources as the template names them, and as the guide's files do.
NAMES = {
    f"arn:${{AWS::Partition}}:kinesisvideo:{ON_THE_ACCOUNT}:stream/${{KvsStreamPrefix}}*/*": VIDEO,
    f"arn:${{AWS::Partition}}:sns:{ON_THE_ACCOUNT}:kvs-infer-*": "topics",
    "EventStream.Arn": "data stream",
    "EventTable.Arn": RECORDS,
    f"${{EventTable.Arn}}/index/{INDEX}": RECORDS_INDEX,
    "PositionTable.Arn": POSITIONS,
    "WorkerTable.Arn": WORKERS,
    "Bucket.Arn": BUCKET,
    "${Bucket.Arn}/${S3Prefix}/*": SNAPSHOTS,
    "${Bucket.Arn}/config/*": CONFIGURATION,
    "${Bucket.Arn}/models/*": MODELS,
    "arn:aws:kinesisvideo:${AWS_REGION}:${AWS_ACCOUNT_ID}:stream/${KVS_STREAM_PREFIX}*/*": VIDEO,
    "arn:aws:sns:${AWS_REGION}:${AWS_ACCOUNT_ID}:kvs-infer-*": "topics",
    "arn:aws:kinesis:${AWS_REGION}:${AWS_ACCOUNT_ID}:stream/${KDS_STREAM_NAME}": "data stream",
    "arn:aws:s3:::${S3_BUCKET_NAME}": BUCKET,
    "arn:aws:s3:::${S3_BUCKET_NAME}/${S3_PREFIX}/*": SNAPSHOTS,
    "arn:aws:s3:::${S3_BUCKET_NAME}/config/*": CONFIGURATION,
    "arn:aws:s3:::${S3_BUCKET_NAME}/models/*": MODELS,
} | {
    f"arn:aws:dynamodb:${{AWS_REGION}}:${{AWS_ACCOUNT_ID}}:table/${{DYNAMODB_TABLE_NAME}}{part}": resource
    for part, resource in {
        "": RECORDS,
        f"/index/{INDEX}": RECORDS_INDEX,
        "-positions": POSITIONS,
        "-workers": WORKERS,
    }.items()
}


def resource_name(resource: Any) -> str:
    """Returns the name of a resource in a policy: that of NAMES, or else its text."""
    parts = resource.get("Fn::GetAtt") if isinstance(resource, dict) else None
    text = ".".join(parts) if parts else text_of(resource)
    return NAMES.get(text, text)


def resources_by_action(policy: dict[str, Any]) -> dict[str, set[str]]:
    """Returns the resources on which a policy allows each action."""
    found: dict[str, set[str]] = {}
    for item in iam_actions.statements(policy):
        actions, resources = (
            value if isinstance(value, list) else [value] for value in (item["Action"], item["Resource"])
        )
        for action in actions:
            found.setdefault(action, set()).update(resource_name(resource) for resource in resources)
    return found


@rule
def each_action_is_on_its_resources(files: Files) -> list[str]:
    """No action on a resource that the program does not call it on, and none is missing on one of them."""
    found = []
    besides = iam_actions.BESIDES.keys() - RESOURCES.keys()
    for shares, policies in (
        (True, iam_actions.task_policies(files)),
        (False, iam_actions.policies_of_one_task(files)),
    ):
        for name, policy in policies.items():
            for action, has in resources_by_action(policy).items():
                if action in besides:
                    continue
                wanted = RESOURCES.get(action, set()) - (set() if shares else {WORKERS})
                found += expect(
                    has == wanted,
                    f"{name}: {action} lacks {sorted(wanted - has)}, and is allowed on {sorted(has - wanted)} as well",
                )
    return found


@rule
def the_history_has_its_index(files: Files) -> list[str]:
    """The index that the program queries is that of the table and of the permission."""
    program = "\n".join(files.rust.values())
    texts = dict(re.findall(r'const (\w+): &str = "([^"]+)"', program))
    named = {texts.get(name, name) for name in re.findall(r"\.index_name\((\w+)\)", program)}
    found = expect(named == {INDEX}, f"the program queries {sorted(named)}, not {INDEX}")
    indexes = {item["IndexName"]: item for item in files.properties("EventTable").get("GlobalSecondaryIndexes", [])}
    index = indexes.get(INDEX, {"KeySchema": [], "Projection": {}})
    keys = [(key["AttributeName"], key["KeyType"]) for key in index["KeySchema"]]
    found += expect(keys == [("camera_id", "HASH"), ("ts_ms", "RANGE")], f"{INDEX} has the key {keys}")
    # A query of an index returns what the index holds: a record without its payload shows no incident.
    found += expect(index["Projection"] == {"ProjectionType": "ALL"}, f"{INDEX} holds {index['Projection']}")
    return found + expect(f"IndexName={INDEX},KeySchema" in files.guide, f"docs/deploy.md: a table without {INDEX}")
