"""``GET /openapi.json`` describes what the server does."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

from ccproxy.api.app import ROUTES, describe
from ccproxy.api.openapi.schemas import EXAMPLES
from ccproxy.web.operation import Route
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.backend import ScriptedRequest
from tests.support.docs import all_errors
from tests.support.server import events
from tests.support.spec import openapi_errors, schema_errors

_REACTOR: Any = reactor
# Of what schemathesis looks for, what is none of our faults:
# - positive_data_acceptance: a schema cannot say that a call needs its result, nor that
#   an item is kept;
# - allow_header_conformance: `/responses/compact` is a `/responses/{name}`, too, and
#   `Allow` says so;
# - a body that is too large is refused for that, whatever is in it;
# - one has no end.
_CONFIGURATION = f"""
[headers]
Authorization = "{AUTHORIZATION}"

[checks]
positive_data_acceptance.enabled = false
allow_header_conformance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 413, 426]

[[operations]]
include-path = "/dashboard/events"
enabled = false
"""


def test_every_route_is_documented() -> None:
    paths = json.loads(describe())["paths"]
    told = {
        (method.upper(), path, about.get("security") != [])
        for path, methods in paths.items()
        for method, about in methods.items()
    }
    # A key is asked for by the decorator, or by the route itself.
    opened = {"/metrics"}
    assert told == {
        (route.method, path, route.operation.needs_key or path in opened)
        for route in ROUTES
        for path in [route.template]
    }


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.name))
@ensureDeferred
async def test_every_route_is_mounted(http: HTTP, route: Route, prefix: str) -> None:
    path = prefix + re.sub("{.*?}", "x", route.template)
    response = await http.request("OPTIONS", path, key=None)
    assert (response.code, await response.content()) == (204, b"")
    allowed = response.headers.getRawHeaders("allow")[0].split(", ")
    assert route.method in allowed


def test_every_error_is_documented() -> None:
    document = describe().decode()
    # Of no route at all, or told over a WebSocket only.
    elsewhere = {"method_not_allowed", "websocket_connection_limit_reached"}
    told = set(re.findall(r"`(\w+)`", document))
    missing = {code for _, code in all_errors()} - told - elsewhere
    assert not missing, (
        f"errors that no operation has: {sorted(missing)}; add them to `errors` of the "
        "routes that raise them"
    )


@pytest.mark.parametrize("path", ["/openapi.json", "/v1/openapi.json"])
@ensureDeferred
async def test_document_is_served_and_sound(http: HTTP, path: str) -> None:
    response = await http.request("GET", path)
    document = await response.json()
    assert response.code == 200
    assert openapi_errors(document) == []


@ensureDeferred
async def test_document_wants_the_key(http: HTTP) -> None:
    response = await http.request("GET", "/openapi.json", key=None)
    assert response.code == 401
    await response.content()


def answers(ask: ScriptedRequest) -> None:
    """Answer soon, as a CLI does."""

    def answer() -> None:
        if not ask.cancelled:
            ask.answer("one", " two")

    _REACTOR.callLater(0, answer)


def _examples() -> list[tuple[str, Any]]:
    document = json.loads(describe())
    found = []
    for path, methods in document["paths"].items():
        body = methods.get("post", {}).get("requestBody")
        if body is not None and "{" not in path:
            examples = body["content"]["application/json"]["examples"]
            found += [(path, example["value"]) for example in examples.values()]
    return found


def test_every_example_is_one_of_a_request() -> None:
    requests = {route.operation.request for route in ROUTES} - {None}
    assert set(EXAMPLES) <= {request.__name__ for request in requests if request}


@pytest.mark.threads
@pytest.mark.parametrize(("path", "body"), _examples())
@ensureDeferred
async def test_examples_work_and_answers_are_as_told(
    http: HTTP, path: str, body: Any
) -> None:
    http.backend.asked = answers
    asked = {**body, "stream": False} if path == "/responses/compact" else body
    response = await http.request("POST", path, json=asked)
    content = await response.content()
    assert response.code == 200, content
    told = json.loads(describe())["paths"][path]["post"]["responses"]["200"]
    kind, _, _ = response.headers.getRawHeaders("content-type")[0].partition(";")
    schemas = told["content"][kind]["schema"]
    if kind == "application/json":
        assert schema_errors(schemas, json.loads(content)) == []
    elif "x-event" in schemas:
        *chunks, done = events(content.decode())
        assert (bool(chunks), done) == (True, "[DONE]")
        for chunk in chunks:
            assert schema_errors(schemas["x-event"], json.loads(chunk)) == []


@pytest.mark.threads
@pytest.mark.skipif(
    find_spec("schemathesis") is None, reason="the extra `fuzz` is not installed"
)
@ensureDeferred
async def test_no_request_leads_elsewhere(http: HTTP, tmp_path: Path) -> None:
    http.backend.asked = answers
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION)
    url = f"http://127.0.0.1:{http.number}/v1/openapi.json"
    out, err, status = await getProcessOutputAndValue(
        str(Path(sys.executable).parent / "st"),
        ("run", url, "--max-examples=10", "--no-color", "--warnings=off"),
        env={"HOME": str(tmp_path)},
        path=str(tmp_path),
    )
    assert status == 0, out.decode() + err.decode()
    # Questions were put, so it was not all refused.
    assert http.backend.asks
