"""Runs moto, a local AWS, with its calls to DynamoDB one after the other.

usage: local_aws.py [-H HOST] [-p PORT]     (moto_server --help)

By itself moto checks the condition of a write and writes in two steps, between which another thread may write: two
workers could win the same camera. One lock makes conditional writes atomic, as those of DynamoDB are.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

LOCK, CALL = threading.Lock(), DomainDispatcherApplication.__call__


def one_at_a_time(
    self: DomainDispatcherApplication, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answers a request; those to DynamoDB one after the other."""
    if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
        return CALL(self, environ, start_response)
    with LOCK:
        return CALL(self, environ, start_response)


if __name__ == "__main__":
    setattr(DomainDispatcherApplication, "__call__", one_at_a_time)  # noqa: B010 - mypy refuses the assignment
    main()
