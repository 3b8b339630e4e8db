"""Checks documents against the OpenAPI documents in ``tests/spec``."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ccproxy.api.app import describe
from tests.support.json_schema import is_schema, validator_of

_FOLDER = Path(__file__).parent.parent / "spec"


@cache
def _openai() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / "openai.openapi.json").read_text())
    relaxed: dict[str, Any] = _relaxed(document)
    _allow_null(relaxed["components"]["schemas"])
    _allow_custom_calls(relaxed["components"]["schemas"])
    return relaxed


def _allow_custom_calls(schemas: dict[str, Any]) -> None:
    """Allow custom calls in chunks, which OpenAI's document has in messages only."""
    chunk = schemas["ChatCompletionMessageToolCallChunk"]["properties"]
    chunk["type"]["enum"].append("custom")


def _allow_null(schemas: dict[str, Any]) -> None:
    """Allow null where the examples of OpenAI's document have it."""
    for part in schemas["Response"]["allOf"]:
        for name in ("usage", "user"):
            if name in part.get("properties", {}):
                schema = part["properties"][name]
                part["properties"][name] = {"anyOf": [schema, {"type": "null"}]}
    # Open Responses wants it to be there, OpenAI's own answers have null.
    form = schemas["TextResponseFormatJsonSchema"]["properties"]
    form["description"] = {"anyOf": [form["description"], {"type": "null"}]}


def _relaxed(node: Any) -> Any:
    """Replace `nullable: true` of OpenAPI 3.0, which means "or null"."""
    if isinstance(node, list):
        return [_relaxed(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _relaxed(value) for key, value in node.items()}
    if schema.pop("nullable", None) is True:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


@cache
def _validator(component: str) -> Any:
    schema = {
        "$ref": f"#/components/schemas/{component}",
        "components": _openai()["components"],
    }
    return validator_of(schema)


def _errors(component: str, value: object) -> list[str]:
    found = _validator(component).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def document_errors(document: object) -> list[str]:
    """The errors in a chat completion."""
    return _errors("CreateChatCompletionResponse", document)


def chunk_errors(chunk: object) -> list[str]:
    """The errors in one chunk of a streamed chat completion."""
    return _errors("CreateChatCompletionStreamResponse", chunk)


def error_errors(document: object) -> list[str]:
    """The errors in an error document."""
    return _errors("ErrorResponse", document)


def models_errors(document: object) -> list[str]:
    """The errors in a list of models."""
    return _errors("ListModelsResponse", document)


def model_errors(document: object) -> list[str]:
    """The errors in a model."""
    return _errors("Model", document)


def item_list_errors(document: object) -> list[str]:
    """The errors in a page of a response's input."""
    return _errors("ResponseItemList", document)


def conversation_errors(document: object) -> list[str]:
    """The errors in a conversation."""
    return _errors("ConversationResource", document)


def conversation_items_errors(document: object) -> list[str]:
    """The errors in a page of a conversation."""
    return _errors("ConversationItemList", document)


def input_tokens_errors(document: object) -> list[str]:
    """The errors in a count of input tokens."""
    return _errors("TokenCountsResource", document)


def compaction_errors(document: object) -> list[str]:
    """The errors in a compacted conversation, by either document."""
    return [
        *_errors("CompactResource", document),
        *_open_errors("#/components/schemas/CompactResource", document),
    ]


# Open Responses ---------------------------------------------------------------


@cache
def _open_responses() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (_FOLDER / "openresponses.openapi.json").read_text()
    )
    # The document has lost what the schema of a format is: it says null.
    form = document["components"]["schemas"]["JsonSchemaResponseFormat"]
    form["properties"]["schema"]["anyOf"].append({"type": "object"})
    return document


@cache
def _open_validator(reference: str) -> Any:
    return validator_of({**_open_responses(), "$ref": reference})


def _open_errors(reference: str, value: object) -> list[str]:
    found = _open_validator(reference).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def response_errors(document: object) -> list[str]:
    """The errors in a response, by either document."""
    return [
        *_errors("Response", document),
        *_open_errors(
            "#/components/schemas/ResponseResource", _known_to_open(document)
        ),
    ]


def response_event_errors(event: Any) -> list[str]:
    """The errors in one event of a streamed response, by either document."""
    component = _openai_events().get(event["type"])
    if component is None:
        return [f"there is no event {event['type']}"]
    found = _errors(component, event)
    # Its own `error` is nested, which OpenAI's clients cannot read.
    reference = _open_events().get(event["type"])
    if reference is not None and event["type"] != "error":
        found += _open_errors(reference, _known_to_open(event))
    return found


@cache
def _openai_events() -> dict[str, str]:
    """The schema of each type of event, because to try the whole union takes long."""
    schemas = _openai()["components"]["schemas"]
    names = [
        ref["$ref"].rpartition("/")[2]
        for ref in schemas["ResponseStreamEvent"]["anyOf"]
    ]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


@cache
def _open_events() -> dict[str, str]:
    document = _open_responses()
    events = document["paths"]["/responses"]["post"]["responses"]["200"]
    union = events["content"]["text/event-stream"]["schema"]["oneOf"]
    schemas = document["components"]["schemas"]
    found = {}
    for ref in union:
        if "$ref" in ref:
            schema = schemas[ref["$ref"].rpartition("/")[2]]
            found[schema["properties"]["type"]["enum"][0]] = ref["$ref"]
    return found


_OPEN_ITEMS = ("message", "function_call", "function_call_output", "reasoning")


def _known_to_open(document: Any) -> Any:
    """A document or event without the tools and items of OpenAI's document only."""
    if isinstance(document, dict) and isinstance(document.get("response"), dict):
        response = _known_to_open(document["response"])
        return {**document, "response": response}
    if not isinstance(document, dict):
        return document
    known = dict(document)
    if "item" in known and known["item"]["type"] not in _OPEN_ITEMS:
        known["item"] = None
    if "tools" in known:
        known["tools"] = [t for t in known["tools"] if t["type"] == "function"]
    if "output" in known:
        known["output"] = [i for i in known["output"] if i["type"] in _OPEN_ITEMS]
    choice = known.get("tool_choice")
    if isinstance(choice, dict):
        chosen = [choice, *choice.get("tools", [])]
        if any(c["type"] not in ("function", "allowed_tools") for c in chosen):
            known["tool_choice"] = "auto"
    return known


# Our own ----------------------------------------------------------------------


def openapi_errors(document: Any) -> list[str]:
    """The errors in the proxy's OpenAPI document: references, mostly."""
    used = set(_references(document))
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        assert is_schema(schema), schema
    kept = {f"#/components/schemas/{name}" for name in schemas}
    kept |= {
        f"#/components/headers/{name}" for name in document["components"]["headers"]
    }
    return [f"{name} is nowhere" for name in used - kept] + [
        f"{name} is used nowhere" for name in kept - used
    ]


def schema_errors(schema: Any, value: object) -> list[str]:
    """The errors in an answer, by a schema of the proxy's OpenAPI document."""
    validator = validator_of({"components": _components(), **schema})
    return [
        f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)
    ]


@cache
def _components() -> Any:
    return json.loads(describe())["components"]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
