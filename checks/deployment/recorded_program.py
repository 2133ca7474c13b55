"""Stands in for a program that a document calls: records the call in $CALLS, and does what can be done of it here.

`aws` is run, but for what moto lacks; after `docker push` or `make docker-push` there is an image in the local ECR; the
others do nothing.
"""

import json
import os
import subprocess
import sys

# Commands that the local AWS lacks, with the reason. "run": it is called all the same, so that its arguments are
# checked, and it must be refused with one of REFUSALS.
LACKING = {
    "service-quotas get-service-quota": ("run", "moto knows no quotas of EC2"),
    "ecs update-cluster-settings": ("run", "moto has no such call"),
    "ecs wait services-stable": ("not run", "moto starts no task, so it never becomes stable"),
    "ecs execute-command": ("not run", "it needs the Session Manager plugin and a running task"),
    "logs tail": ("not run", "of the AWS CLI v2 only, and it never ends"),
}
# How moto says so: for a call that it does not know it breaks down.
REFUSALS = ("NoSuchResourceException", "Internal Server Error")


def operation(arguments: list[str]) -> str:
    """`service operation`, with the name of what is waited for."""
    words = []
    for word in arguments:
        if word.startswith("-"):
            break
        words.append(word)
    return " ".join(words[: 3 if words[1:2] == ["wait"] else 2])


def note(name: str, what: str, **more: object) -> None:
    """Appends a call to $CALLS."""
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(json.dumps({"program": name, "what": what, **more}) + "\n")


def aws(arguments: list[str]) -> int:
    """Runs the AWS CLI. What is lacking succeeds if it was refused as such, and without output."""
    what = operation(arguments)
    how, why = LACKING.get(what, ("", ""))
    if how == "not run":
        note("aws", what, code=0, lacking=why)
        return 0
    ran = subprocess.run([os.environ["REAL_AWS"], *arguments], capture_output=True, text=True, check=False)
    refused = ran.returncode != 0 and how == "run" and any(text in ran.stderr for text in REFUSALS)
    if how == "run" and not refused:
        why = ""
    note("aws", what, code=0 if refused else ran.returncode, lacking=why, error=ran.stderr.strip()[-300:])
    sys.stdout.write(ran.stdout)
    sys.stderr.write(ran.stderr)
    return 0 if refused else ran.returncode


def docker(arguments: list[str]) -> int:
    """Nothing, but after `push` the image is there."""
    note("docker", arguments[0], code=0)
    if arguments[0] == "login":
        sys.stdin.read()
    if arguments[0] != "push":
        return 0
    return push(arguments[1])


def push(image: str) -> int:
    """Puts something into the local ECR under the image's name."""
    repository, tag = image.split("/", 1)[1].split(":")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": "sha256:" + "0" * 64},
        "layers": [],
    }
    put = [
        "ecr",
        "put-image",
        "--repository-name",
        repository,
        "--image-tag",
        tag,
        "--image-manifest",
        json.dumps(manifest),
    ]
    return subprocess.run([os.environ["REAL_AWS"], *put], stdout=subprocess.DEVNULL, check=False).returncode


def main(name: str, arguments: list[str]) -> int:
    """Stands in for the program of that name."""
    if name == "aws":
        return aws(arguments)
    if name == "docker":
        return docker(arguments)
    note(name, " ".join(arguments) if name == "make" else operation(arguments), code=0)
    image = next((word.removeprefix("IMG=") for word in arguments if word.startswith("IMG=")), "")
    return push(image) if name == "make" and "docker-push" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
