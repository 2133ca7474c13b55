"""Assertions about stream, bucket, tables and logs."""

from typing import Any

from checks.deployment.assertions.created_stack import CreatedStack, assertion_about
from checks.tables import differing


@assertion_about("AWS::Kinesis::Stream")
def stream(made: CreatedStack, name: str) -> list[str]:
    """Encrypted, with its shards, for a day."""
    has = made.aws.client("kinesis").describe_stream_summary(StreamName=made.ids[name])["StreamDescriptionSummary"]
    return differing(
        encryption=((has["EncryptionType"], has.get("KeyId")), ("KMS", "alias/aws/kinesis")),
        shards=(has["OpenShardCount"], int(made.parameter("KdsShards"))),
        hours=(has["RetentionPeriodHours"], 24),
    )


@assertion_about("AWS::S3::Bucket")
def bucket(made: CreatedStack, name: str) -> list[str]:
    """Private, encrypted, versioned, emptied of old pictures."""
    s3, named = made.aws.client("s3"), {"Bucket": made.ids[name]}
    sse = s3.get_bucket_encryption(**named)["ServerSideEncryptionConfiguration"]["Rules"][0][
        "ApplyServerSideEncryptionByDefault"
    ]
    key = made.parameter("KmsKeyArn")
    return differing(
        blocked=(blocked(s3, made.ids[name]), [True] * 4),
        encryption=((sse["SSEAlgorithm"], sse.get("KMSMasterKeyID")), ("aws:kms", key) if key else ("AES256", None)),
        versions=(s3.get_bucket_versioning(**named).get("Status"), "Enabled"),
        expires=(expiry(s3, made.ids[name]), [(f"{made.parameter('S3Prefix')}/", int(made.parameter("SnapshotDays")))]),
    )


def blocked(s3: Any, bucket: str) -> list[bool]:
    """The four blocks of public access, where there are any."""
    try:
        return list(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    except s3.exceptions.ClientError:
        return []


def expiry(s3: Any, bucket: str) -> list[tuple[str, int]]:
    """Returns the prefixes that expire, with their days."""
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except s3.exceptions.ClientError:
        return []
    return [
        (rule.get("Prefix") or rule["Filter"]["Prefix"], rule["Expiration"]["Days"])
        for rule in rules
        if "Expiration" in rule
    ]


KEYS = {"EventTable": ["event_id", "ts_ms"], "PositionTable": ["camera_id"], "WorkerTable": ["pool", "member"]}


@assertion_about("AWS::DynamoDB::Table")
def table(made: CreatedStack, name: str) -> list[str]:
    """Keys, index, time to live, backups, encryption."""
    dynamodb = made.aws.client("dynamodb")
    has = dynamodb.describe_table(TableName=made.ids[name])["Table"]
    keys = [item["AttributeName"] for item in has["KeySchema"]]
    indexes = {
        item["IndexName"]: [key["AttributeName"] for key in item["KeySchema"]]
        for item in has.get("GlobalSecondaryIndexes", [])
    }
    backups = dynamodb.describe_continuous_backups(TableName=made.ids[name])["ContinuousBackupsDescription"]
    expiry = dynamodb.describe_time_to_live(TableName=made.ids[name])["TimeToLiveDescription"]
    return differing(
        keys=(keys, KEYS[name]),
        indexes=(indexes, {"camera_id-ts_ms-index": ["camera_id", "ts_ms"]} if name == "EventTable" else {}),
        expires=(
            expiry.get("AttributeName") if expiry["TimeToLiveStatus"] == "ENABLED" else None,
            None if name == "PositionTable" else "ttl",
        ),
        backups=(backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "ENABLED"),
        pays=(has["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST"),
        encrypted=(has.get("SSEDescription", {}).get("Status"), "ENABLED"),
    )


@assertion_about("AWS::Logs::LogGroup")
def log_group(made: CreatedStack, name: str) -> list[str]:
    """Its retention."""
    groups = made.aws.client("logs").describe_log_groups(logGroupNamePrefix=made.ids[name])["logGroups"]
    has = next(item for item in groups if item["logGroupName"] == made.ids[name])
    return differing(days=(has.get("retentionInDays"), int(made.parameter("LogDays"))))
