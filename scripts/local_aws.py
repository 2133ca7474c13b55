"""Runs moto, a local AWS, with its calls to DynamoDB one after the other, and those to Kinesis.

usage: local_aws.py [-H HOST] [-p PORT]     (moto_server --help)

By itself moto checks the condition of a write and writes in two steps, between which another thread may write: two
workers could win the same camera. And it gives two records that come at once the same number: one of them is lost.
A lock for each of the two services makes their calls atomic, as those of AWS are.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

CALL = DomainDispatcherApplication.__call__
# By the beginning of the header X-Amz-Target.
LOCKS = {"DynamoDB": threading.Lock(), "Kinesis_": threading.Lock()}


def one_at_a_time(
    self: DomainDispatcherApplication, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answers a request; those to one of the two services one after the other."""
    lock = LOCKS.get(environ.get("HTTP_X_AMZ_TARGET", "")[:8])
    if lock is None:
        return CALL(self, environ, start_response)
    with lock:
        return CALL(self, environ, start_response)


if __name__ == "__main__":
    setattr(DomainDispatcherApplication, "__call__", one_at_a_time)  # noqa: B010 - mypy refuses the assignment
    main()
