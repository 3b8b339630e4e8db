"""Makes the document of ``GET /openapi.json`` from the routes' operations. Pure.

This module adds the errors that do not depend on the route.

Source: the OpenAPI Specification 3.1.1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ccproxy.api.openapi.schemas import EXAMPLES, Schemas, reference, structs_of
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import (
    CCProxyError,
    HostNotAllowed,
    InternalError,
    InvalidKey,
    InvalidRequest,
    MissingParameter,
    QueueFull,
    RateLimited,
    RequestTimedOut,
    RequestTooLarge,
    ServerFull,
    UnsupportedEncoding,
)
from ccproxy.web.error_formats import ANTHROPIC, OPENAI, ErrorFormat
from ccproxy.web.operation import JSON, JSONSchema, Route

_SECURITY: Sequence[Mapping[str, Any]] = (
    {"key": []},
    {"x-api-key": []},
    {"api-key": []},
)
_PLACE = re.compile(r"{(\w+)}")
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
# The version of the API (`/v1`), not of ccproxy.
_VERSION = "1"
_ABOUT = (
    "The model behind Claude Code. Every path may begin with `/v1`. "
    "Unknown fields of a request are accepted, without effect; what a field does is "
    "in docs/chat-completions.md, docs/responses.md and docs/messages.md."
)


# The errors of every route, and the further errors of every route with a body.
_ALWAYS = (
    *(InvalidRequest, HostNotAllowed, RequestTimedOut),
    *(ServerFull, InternalError),
)
_BODY_ERRORS = (RequestTooLarge, UnsupportedEncoding)


def openapi_document(routes: Sequence[Route]) -> bytes:
    """Encode the OpenAPI document of all routes."""
    schemas = Schemas(
        struct
        for operation in (route.operation for route in routes)
        for schema in (
            operation.request,
            *(response.content for response in operation.responses),
        )
        for struct in structs_of(schema)
    )
    return encode_json(
        {
            "openapi": "3.1.0",
            "info": {"title": "ccproxy", "version": _VERSION, "description": _ABOUT},
            # A relative URL is right wherever the routes are mounted.
            "servers": [{"url": "./"}],
            "security": _SECURITY,
            "paths": _paths(routes, schemas),
            "components": {
                "schemas": schemas.components,
                "headers": {
                    "x-request-id": {
                        "description": "The id of the request, as in the log.",
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
                        "description": "The same key, as Anthropic's clients send it.",
                    },
                    "api-key": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "api-key",
                        "description": "The same key, as Azure's clients send it.",
                    },
                },
            },
        }
    )


def _paths(routes: Sequence[Route], schemas: Schemas) -> Mapping[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        methods = paths.setdefault(route.template, {})
        links = _links(route, routes)
        methods[route.method.lower()] = _operation(route, schemas, links)
    return paths


def _operation(
    route: Route, schemas: Schemas, links: Mapping[str, Any]
) -> Mapping[str, Any]:
    operation = route.operation
    responses = _responses(route, schemas, links)
    document: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *map(_path_parameter, _path_parameters(route)),
            *operation.parameters,
        ],
        "responses": dict(sorted(responses.items())),
    }
    if operation.description:
        document["description"] = operation.description
    if not operation.needs_key:
        may_need = InvalidKey in operation.errors
        document["security"] = [*_SECURITY, {}] if may_need else []
    if operation.request is not None:
        examples = EXAMPLES.get(operation.request.__name__, {})
        body = {
            "schema": schemas.encode(operation.request),
            "examples": {name: {"value": value} for name, value in examples.items()},
        }
        document["requestBody"] = {
            "required": not operation.is_request_optional,
            "content": {JSON: body},
        }
    return document


def _path_parameter(name: str) -> Mapping[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _responses(
    route: Route, schemas: Schemas, links: Mapping[str, Any]
) -> Mapping[str, Any]:
    responses: dict[str, Any] = {}
    for spec in route.operation.responses:
        response: dict[str, Any] = {
            "description": spec.description,
            "headers": _REQUEST_ID,
        }
        if spec.content:
            response["content"] = {
                kind: {"schema": schemas.encode(schema)}
                for kind, schema in spec.content.items()
            }
            if links:
                response["links"] = links
        responses[str(spec.status)] = response
    for status, refusal in _refusals(route).items():
        there = responses.get(str(status))
        if there is not None:
            refusal = _either(there, refusal)
        responses[str(status)] = refusal
    return responses


def _refusals(route: Route) -> Mapping[int, dict[str, Any]]:
    """The error responses by status, in all error formats of the route."""
    codes: dict[int, dict[str, None]] = {}
    schemas: dict[int, list[JSONSchema]] = {}
    for error_format in route.operation.error_formats:
        found: dict[int, list[str]] = {}
        for error in _errors(route):
            found.setdefault(error_format.status(error), []).append(error.code)
        for status, own in found.items():
            codes.setdefault(status, {}).update(dict.fromkeys(own))
            schemas.setdefault(status, []).append(_ERROR_SCHEMAS[error_format](own))
    return {status: _refusal(list(codes[status]), schemas[status]) for status in codes}


def _errors(route: Route) -> tuple[type[CCProxyError], ...]:
    """All errors that a route can answer with."""
    operation = route.operation
    return (
        *_ALWAYS,
        *((InvalidKey,) if operation.needs_key else ()),
        *(_BODY_ERRORS if route.method == "POST" else ()),
        *((MissingParameter,) if operation.request is not None else ()),
        *operation.errors,
    )


def _links(route: Route, others: Sequence[Route]) -> Mapping[str, Any]:
    """OpenAPI links from an operation to the operations on the created object."""
    if route.operation.creates is None:
        return {}
    place, where = route.operation.creates
    below = f"{route.template}/{{{place}}}"
    own = {name: f"$request.path.{name}" for name in _path_parameters(route)}
    parameters = {**own, place: f"$response.body#/{where}"}
    return {
        other.operation.id: {
            "operationId": other.operation.id,
            "parameters": {name: parameters[name] for name in _path_parameters(other)},
        }
        for other in others
        if other.template.startswith(below)
        and set(_path_parameters(other)) <= {*parameters}
    }


def _path_parameters(route: Route) -> Sequence[str]:
    """The names of the parameters in a path."""
    return _PLACE.findall(route.template)


def _openai_error(codes: Sequence[str]) -> Mapping[str, Any]:
    code = {"enum": list(dict.fromkeys(codes))}
    about = {"properties": {"error": {"properties": {"code": code}}}}
    return {"allOf": [reference("Error"), about]}


_ERROR_SCHEMAS: Mapping[ErrorFormat, Callable[[Sequence[str]], JSONSchema]] = {
    OPENAI: _openai_error,
    ANTHROPIC: lambda _: reference("AnthropicError"),
}


def _refusal(codes: Sequence[str], schemas: Sequence[JSONSchema]) -> dict[str, Any]:
    headers: dict[str, Any] = dict(_REQUEST_ID)
    if InvalidKey.code in codes:
        headers["www-authenticate"] = _header("The scheme of the key: `Bearer`.")
    if RateLimited.code in codes or QueueFull.code in codes:
        headers["retry-after"] = _header("Seconds to wait, if the time is known.")
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": headers,
        "content": {JSON: {"schema": schema}},
    }


def _header(what: str) -> Mapping[str, Any]:
    return {"description": what, "schema": {"type": "string"}}


def _either(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    schemas = [r["content"][JSON]["schema"] for r in (one, other)]
    what = f"{one['description']}; or {other['description']}"
    content = {JSON: {"schema": {"anyOf": schemas}}}
    return {**other, "description": what, "content": content}
