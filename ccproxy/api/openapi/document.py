"""``GET /openapi.json``: what this server does, in OpenAPI 3.1. Pure.

The routes are in `ccproxy.api.openapi.operations`, the schemas in
`ccproxy.api.openapi.schemas`; a test compares the first with the router's, and
what is decoded and encoded by typed structs takes its schema from them.

Source: the OpenAPI Specification 3.1.1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ccproxy.api.openapi.examples import EXAMPLES
from ccproxy.api.openapi.operations import OPERATIONS
from ccproxy.api.openapi.schemas import components, reference
from ccproxy.api.openapi.terms import Dialect, Operation
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError, InvalidKey, QueueFull, RateLimited
from ccproxy.web.error_formats import anthropic_status

_SECURITY: Sequence[Mapping[str, Any]] = ({"key": []}, {"x-api-key": []})
_JSON = "application/json"
_PLACE = re.compile(r"{(\w+)}")
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
# Of the format, not of the program: what `/v1` stands for.
_VERSION = "1"
_ABOUT = (
    "The model behind Claude Code. Every route is there with and without `/v1`. "
    "Unknown fields of a request are accepted, without effect; what a field does is "
    "in docs/chat-completions.md, docs/responses.md and docs/messages.md."
)


@cache
def openapi_document() -> bytes:
    """Encode the whole document; it is the same for every server."""
    return encode_json(
        {
            "openapi": "3.1.0",
            "info": {"title": "ccproxy", "version": _VERSION, "description": _ABOUT},
            # Where the document is, so that it is true wherever it is mounted.
            "servers": [{"url": "./"}],
            "security": _SECURITY,
            "paths": _paths(),
            "components": {
                "schemas": components(),
                "headers": {
                    "x-request-id": {
                        "description": "Names the request, here and in the log.",
                        "schema": {"type": "string"},
                        "required": True,
                    },
                },
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A key that the server was started with.",
                    },
                    "x-api-key": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "x-api-key",
                        "description": "The same, as Anthropic's clients send it.",
                    },
                },
            },
        }
    )


def _paths() -> Mapping[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Mapping[str, Any]:
    places = _PLACE.findall(operation.path)
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*map(_place, places), *operation.query],
        "responses": dict(sorted(_responses(operation).items())),
    }
    if operation.more:
        document["description"] = operation.more
    if not operation.needs_key:
        may_need = InvalidKey in operation.errors
        document["security"] = [*_SECURITY, {}] if may_need else []
    if operation.body is not None:
        examples = EXAMPLES.get(operation.body, {})
        body = {
            "schema": reference(operation.body),
            "examples": {name: {"value": value} for name, value in examples.items()},
        }
        document["requestBody"] = {
            "required": operation.needs_body,
            "content": {_JSON: body},
        }
    return document


def _place(name: str) -> Mapping[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _responses(operation: Operation) -> Mapping[str, Any]:
    responses: dict[str, Any] = {}
    for answer in operation.answers:
        response: dict[str, Any] = {"description": answer.what, "headers": _REQUEST_ID}
        if answer.content:
            response["content"] = {
                kind: {"schema": schema} for kind, schema in answer.content.items()
            }
            links = _links(operation)
            if links:
                response["links"] = links
        responses[str(answer.status)] = response
    for status, refusal in _refusals(operation).items():
        there = responses.get(str(status))
        if there is not None:
            refusal = _either(there, refusal)
        responses[str(status)] = refusal
    return responses


def _refusals(operation: Operation) -> Mapping[int, dict[str, Any]]:
    """What is told by each status, in all the dialects that the route speaks."""
    codes: dict[int, dict[str, None]] = {}
    schemas: dict[int, list[Mapping[str, Any]]] = {}
    for dialect in operation.dialects:
        found: dict[int, list[str]] = {}
        for error in operation.errors:
            status = _STATUS[dialect](error)
            found.setdefault(status, []).append(error.code)
        for status, own in found.items():
            codes.setdefault(status, {}).update(dict.fromkeys(own))
            schemas.setdefault(status, []).append(_SCHEMA[dialect](own))
    return {status: _refusal(list(codes[status]), schemas[status]) for status in codes}


def _links(operation: Operation) -> Mapping[str, Any]:
    """What can be done with what has been made."""
    if operation.makes is None:
        return {}
    place, where = operation.makes
    below = f"{operation.path}/{{{place}}}"
    own = {name: f"$request.path.{name}" for name in _PLACE.findall(operation.path)}
    parameters = {**own, place: f"$response.body#/{where}"}
    return {
        other.name: {
            "operationId": other.name,
            "parameters": {
                name: parameters[name] for name in _PLACE.findall(other.path)
            },
        }
        for other in OPERATIONS
        if other.path.startswith(below)
        and set(_PLACE.findall(other.path)) <= {*parameters}
    }


def _openai_error(codes: Sequence[str]) -> Mapping[str, Any]:
    code = {"enum": list(dict.fromkeys(codes))}
    about = {"properties": {"error": {"properties": {"code": code}}}}
    return {"allOf": [reference("Error"), about]}


_STATUS: Mapping[Dialect, Callable[[type[CCProxyError]], int]] = {
    Dialect.OPENAI: lambda error: error.status,
    Dialect.ANTHROPIC: anthropic_status,
}
_SCHEMA: Mapping[Dialect, Callable[[Sequence[str]], Mapping[str, Any]]] = {
    Dialect.OPENAI: _openai_error,
    Dialect.ANTHROPIC: lambda _: reference("AnthropicError"),
}


def _refusal(
    codes: Sequence[str], schemas: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    headers: dict[str, Any] = dict(_REQUEST_ID)
    if InvalidKey.code in codes:
        headers["www-authenticate"] = _header("How the key is sent.")
    if RateLimited.code in codes or QueueFull.code in codes:
        headers["retry-after"] = _header("Seconds, where they are known.")
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": headers,
        "content": {_JSON: {"schema": schema}},
    }


def _header(what: str) -> Mapping[str, Any]:
    return {"description": what, "schema": {"type": "string"}}


def _either(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    schemas = [r["content"][_JSON]["schema"] for r in (one, other)]
    what = f"{one['description']}; or {other['description']}"
    content = {_JSON: {"schema": {"anyOf": schemas}}}
    return {**other, "description": what, "content": content}
