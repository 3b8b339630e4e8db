"""Errors of requests that are refused before the routes."""

import json

from tests.support.raw import RawClient
from tests.support.spec import error_errors


async def refusal(client: RawClient) -> tuple[int, str]:
    """The status and error code that a client is given, headers checked."""
    await client.expect(b'"code":"')
    head, _, body = client.received.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in headers)
    document = json.loads(body)
    assert error_errors(document) == []
    assert int(fields["content-length"]) == len(body)
    assert fields["connection"] == "close"
    assert fields["x-request-id"].startswith("req_")
    return int(status.split()[1]), document["error"]["code"]
