"""Mistakes that the rules of the task role's permissions must catch."""

from checks.deployment.files import Files
from checks.deployment.mutations.edits import Mutation, call_archive, stack, stack_statement, statement
from checks.deployment.rules import permissions, service


def index_of(files: Files) -> dict[str, object]:
    """The index of the table of records."""
    found: dict[str, object] = stack(files, "EventTable")["GlobalSecondaryIndexes"][0]
    return found


def drop(files: Files, sid: str) -> None:
    """Leaves a statement out of iam-task-role.json."""
    files.ecs["iam-task-role"]["Statement"].remove(statement(files, sid))


def drop_of_stack(files: Files, sid: str) -> None:
    """Leaves a statement out of the stack's task role."""
    stack(files, "TaskRole")["Policies"][0]["PolicyDocument"]["Statement"].remove(stack_statement(files, sid))


HISTORY = [
    Mutation(
        "no history",
        service.permissions_are_the_calls,
        lambda f: drop_of_stack(f, "ReadHistory"),
    ),
    Mutation(
        "no history, in the guide",
        service.permissions_are_the_calls,
        lambda f: drop(f, "ReadHistory"),
    ),
    Mutation(
        "a history without its index",
        permissions.each_action_is_on_its_resources,
        lambda f: stack_statement(f, "ReadHistory")["Resource"].pop(),
    ),
    Mutation(
        "a history by the index only, in the guide",
        permissions.each_action_is_on_its_resources,
        lambda f: statement(f, "ReadHistory")["Resource"].pop(0),
    ),
    Mutation(
        "queries of the positions",
        permissions.each_action_is_on_its_resources,
        lambda f: stack_statement(f, "KeepRecordsAndPositions")["Action"].append("dynamodb:Query"),
    ),
    Mutation(
        "every index of the records, in the guide",
        permissions.each_action_is_on_its_resources,
        lambda f: statement(f, "ReadHistory").update(Resource="arn:aws:dynamodb:r:1:table/t/index/*"),
    ),
    Mutation(
        "a scan of the records",
        service.permissions_are_the_calls,
        lambda f: stack_statement(f, "ReadHistory").update(Action=["dynamodb:Query", "dynamodb:Scan"]),
    ),
    Mutation(
        "an action on no resource that the rule knows",
        permissions.each_action_is_on_its_resources,
        lambda f: stack_statement(f, "ReadHistory").update(Action=["dynamodb:Query", "dynamodb:Scan"]),
    ),
    Mutation(
        "a query of another index",
        permissions.the_history_has_its_index,
        lambda f: f.rust.update({"src/history/new.rs": "fn f(q: QueryFluentBuilder) { q.index_name(BY_PLATE) }\n"}),
    ),
    Mutation(
        "an index of another name",
        permissions.the_history_has_its_index,
        lambda f: index_of(f).update(IndexName="by-camera"),
    ),
    Mutation(
        "an index by another key",
        permissions.the_history_has_its_index,
        lambda f: index_of(f).update(KeySchema=[{"AttributeName": "camera_id", "KeyType": "HASH"}]),
    ),
    Mutation(
        "an index of keys only",
        permissions.the_history_has_its_index,
        lambda f: index_of(f).update(Projection={"ProjectionType": "KEYS_ONLY"}),
    ),
    Mutation(
        "a table without the index, in the guide",
        permissions.the_history_has_its_index,
        lambda f: setattr(f, "guide", f.guide.replace("IndexName=camera_id-ts_ms-index", "IndexName=by-camera")),
    ),
]
PICTURES = [
    Mutation(
        "pictures that cannot be read",
        permissions.each_action_is_on_its_resources,
        lambda f: drop_of_stack(f, "ReadSnapshots"),
    ),
    Mutation(
        "pictures that cannot be read, in the guide",
        permissions.each_action_is_on_its_resources,
        lambda f: drop(f, "ReadSnapshots"),
    ),
    Mutation(
        "every object of the bucket",
        permissions.each_action_is_on_its_resources,
        lambda f: stack_statement(f, "ReadSnapshots").update(Resource={"Fn::Sub": "${Bucket.Arn}/*"}),
    ),
    Mutation(
        "clips beside the snapshots",
        permissions.each_action_is_on_its_resources,
        lambda f: statement(f, "StoreSnapshots").update(
            Resource=[statement(f, "StoreSnapshots")["Resource"], "arn:aws:s3:::${S3_BUCKET_NAME}/clips/*"]
        ),
    ),
    Mutation(
        "a configuration that the task can write",
        permissions.each_action_is_on_its_resources,
        lambda f: stack_statement(f, "ReadConfigurationAndModels").update(Action=["s3:GetObject", "s3:PutObject"]),
    ),
    Mutation(
        "no word of a deleted picture",
        service.missing_objects_are_seen,
        lambda f: stack_statement(f, "SeeWhatIsMissing")["Condition"]["StringLike"]["s3:prefix"].pop(),
    ),
]
VIDEO = [
    Mutation(
        "video that cannot be found",
        service.permissions_are_the_calls,
        lambda f: stack_statement(f, "ReadCameras")["Action"].remove("kinesisvideo:ListFragments"),
    ),
    Mutation(
        "video that can be found and not read, in the guide",
        service.permissions_are_the_calls,
        lambda f: statement(f, "ReadCameras")["Action"].remove("kinesisvideo:GetMediaForFragmentList"),
    ),
    Mutation("clips of the archive without their permission", service.permissions_are_the_calls, call_archive),
    Mutation(
        "video of every stream",
        permissions.each_action_is_on_its_resources,
        lambda f: statement(f, "ReadCameras").update(
            Resource="arn:aws:kinesisvideo:${AWS_REGION}:${AWS_ACCOUNT_ID}:stream/*/*"
        ),
    ),
]
MUTATIONS = HISTORY + PICTURES + VIDEO
