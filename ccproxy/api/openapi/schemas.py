"""The schemas of ``GET /openapi.json``, and example requests. Pure.

The schemas of requests, and of responses that are encoded from structs, are derived
from the structs. The schemas of responses that `ccproxy.api` builds as dicts are
written here; tests compare them with real responses.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ccproxy.api.responses.input.item_fields import ItemFields
from ccproxy.api.responses.input.tools import ToolFields
from ccproxy.web.operation import JSONSchema, Schema

_HELLO = {"role": "user", "content": "Hello!"}
_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
_WEATHER = {"name": "get_weather", "parameters": _PARAMETERS}
_CALL = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}

# By the name of the body's schema.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "ChatRequest": {
        "plain": {"messages": [_HELLO]},
        "stream": {
            "model": "sonnet",
            "messages": [{"role": "system", "content": "Be brief."}, _HELLO],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        "tools": {
            "messages": [
                _HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": _CALL}
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ],
            "tools": [{"type": "function", "function": _WEATHER}],
        },
    },
    "ResponsesRequest": {
        "plain": {"model": "sonnet", "input": "Hello!"},
        "items": {
            "model": "sonnet",
            "instructions": "Be brief.",
            "input": [{"type": "message", **_HELLO}],
            "tools": [{"type": "function", **_WEATHER}],
            "reasoning": {"effort": "low"},
            "metadata": {"topic": "greetings"},
        },
        "stream": {"model": "sonnet", "input": "Hello!", "stream": True},
        "background": {"model": "sonnet", "input": "Hello!", "background": True},
    },
    "CreateMessageRequest": {
        "plain": {"model": "sonnet", "max_tokens": 1000, "messages": [_HELLO]},
        "stream": {
            "model": "sonnet",
            "max_tokens": 1000,
            "system": "Be brief.",
            "messages": [_HELLO],
            "stream": True,
        },
    },
    "NewConversation": {
        "plain": {
            "metadata": {"topic": "greetings"},
            "items": [{"type": "message", **_HELLO}],
        }
    },
    "ConversationUpdate": {"plain": {"metadata": {"topic": "weather"}}},
    "NewItems": {
        "plain": {
            "items": [
                {"type": "message", **_HELLO},
                {"type": "function_call", "call_id": "call_1", **_CALL},
                {
                    "type": "function_call_output",
                    "call_id": "call_1",
                    "output": "rain",
                },
            ]
        }
    },
}
_REFERENCE = "#/components/schemas/"
_ROOM = "ccproxy.api."

# Fields that a struct decodes as `Raw`, and the struct that decodes them later.
_RAW = (
    ("ChatRequest", "input", "ItemFields"),
    ("ResponsesRequest", "input", "ItemFields"),
    ("ResponsesRequest", "tools", "ToolFields"),
    ("NewConversation", "items", "ItemFields"),
    ("NewItems", "items", "ItemFields"),
)

# Constraints that are checked outside the structs.
_NARROWED: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("ChatMessageParam", "role"): {
        "enum": ["system", "developer", "user", "assistant", "tool", "function"]
    },
    ("ChatRequest", "messages"): {"minItems": 1},
}

_TEXT: Mapping[str, Any] = {"type": "string"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_NUMBER: Mapping[str, Any] = {"type": "number"}
_FLAG: Mapping[str, Any] = {"type": "boolean"}
_OBJECT: Mapping[str, Any] = {"type": "object"}
_METADATA: Mapping[str, Any] = {"type": "object", "additionalProperties": _TEXT}


class Schemas:
    """The schemas of the document's components.

    Args:
        structs: the structs that are components.

    Attributes:
        components: the schemas by their names.
    """

    def __init__(self, structs: Iterable[type[msgspec.Struct]]) -> None:
        types = tuple(dict.fromkeys((*structs, ItemFields, ToolFields)))
        found, derived = msgspec.json.schema_components(
            types, ref_template=_REFERENCE + "{name}", schema_hook=_anything
        )
        names = {name: _name(name, derived) for name in derived}
        self._references = dict(zip(types, _renamed(list(found), names), strict=True))
        named = {names[name]: _renamed(each, names) for name, each in derived.items()}
        for struct, field, items in _RAW:
            _replace_raw(named[struct]["properties"][field], reference(items))
        for (struct, field), narrowed in _NARROWED.items():
            named[struct]["properties"][field] |= narrowed
        self.components: Mapping[str, JSONSchema] = {**named, **_WRITTEN}

    def encode(self, schema: Schema) -> JSONSchema:
        """Replace structs and names of components in a schema by references."""
        if isinstance(schema, str):
            return reference(schema)
        resolved: JSONSchema = self._resolved(schema)
        return resolved

    def _resolved(self, node: Any) -> Any:
        if isinstance(node, type):
            return self._references[node]
        if isinstance(node, Mapping):
            return {key: self._resolved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._resolved(each) for each in node]
        return node


def structs_of(schema: object) -> Iterable[type[msgspec.Struct]]:
    """The structs in a schema of an operation."""
    if isinstance(schema, type) and issubclass(schema, msgspec.Struct):
        yield schema
    elif isinstance(schema, Mapping):
        for each in schema.values():
            yield from structs_of(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from structs_of(each)


def reference(name: str) -> dict[str, Any]:
    """A reference to a component."""
    return {"$ref": _REFERENCE + name}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(
    fields: Mapping[str, Any], optional: Sequence[str] = (), *, is_open: bool = False
) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
    }
    return schema if is_open else {**schema, "additionalProperties": False}


def _list_of(name: str) -> dict[str, Any]:
    return _object(
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": reference(name)},
            "has_more": _FLAG,
            "first_id": _TEXT,
            "last_id": _TEXT,
        }
    )


def _deleted(kind: str) -> dict[str, Any]:
    return _object({"id": _TEXT, "object": {"const": kind}, "deleted": {"const": True}})


_USAGE = _object(
    {
        "input_tokens": _COUNT,
        "input_tokens_details": _object(
            {"cached_tokens": _COUNT, "cache_write_tokens": _COUNT}
        ),
        "output_tokens": _COUNT,
        "output_tokens_details": _object({"reasoning_tokens": _COUNT}),
        "total_tokens": _COUNT,
    }
)
_FAILURE = _object({"code": _TEXT, "message": _TEXT})
_RESPONSE = _object(
    {
        "id": _TEXT,
        "object": {"const": "response"},
        "created_at": _COUNT,
        "completed_at": _or_null(_COUNT),
        "status": {
            "enum": [
                *("queued", "in_progress", "completed"),
                *("incomplete", "failed", "cancelled"),
            ]
        },
        "incomplete_details": _or_null(_object({"reason": _TEXT})),
        "model": _TEXT,
        "previous_response_id": _or_null(_TEXT),
        "instructions": _or_null(_TEXT),
        "output": {"type": "array", "items": reference("Item")},
        "error": _or_null(_FAILURE),
        "tools": {"type": "array", "items": _OBJECT},
        "tool_choice": {"type": ["string", "object"]},
        "truncation": _TEXT,
        "parallel_tool_calls": _FLAG,
        "text": _object({"format": _OBJECT, "verbosity": _TEXT}, ("verbosity",)),
        "top_p": _NUMBER,
        "presence_penalty": _NUMBER,
        "frequency_penalty": _NUMBER,
        "top_logprobs": _COUNT,
        "temperature": _NUMBER,
        "reasoning": _or_null(
            _object({"effort": _or_null(_TEXT), "summary": _or_null(_TEXT)})
        ),
        "usage": _or_null(reference("ResponseUsage")),
        "max_output_tokens": _or_null(_COUNT),
        "max_tool_calls": _or_null(_COUNT),
        "store": _FLAG,
        "background": _FLAG,
        "service_tier": _TEXT,
        "metadata": _METADATA,
        "safety_identifier": _or_null(_TEXT),
        "prompt_cache_key": _or_null(_TEXT),
        "conversation": _object({"id": _TEXT}),
    },
    ("conversation",),
)

_WRITTEN: Mapping[str, Any] = {
    "Error": _object(
        {
            "error": _object(
                {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": _or_null(_TEXT),
                    "code": _TEXT,
                }
            )
        }
    ),
    "AnthropicError": _object(
        {
            "type": {"const": "error"},
            "error": _object(
                {"type": _TEXT, "message": _TEXT, "details": _OBJECT}, ("details",)
            ),
            "request_id": _TEXT,
        }
    ),
    "Item": _object({"type": _TEXT, "id": _TEXT}, is_open=True),
    "ItemList": _list_of("Item"),
    "ResponseUsage": _USAGE,
    "Response": _RESPONSE,
    "DeletedResponse": _deleted("response"),
    "Compaction": _object(
        {
            "id": _TEXT,
            "object": {"const": "response.compaction"},
            "created_at": _COUNT,
            "output": {"type": "array", "items": reference("Item")},
            "usage": reference("ResponseUsage"),
        }
    ),
    "ConversationResource": _object(
        {
            "id": _TEXT,
            "object": {"const": "conversation"},
            "created_at": _COUNT,
            "metadata": _METADATA,
        }
    ),
    "DeletedConversation": _deleted("conversation.deleted"),
}


def _anything(kind: type) -> dict[str, Any]:
    """The schema of a field of the type ``object``."""
    if kind is object:
        # msgspec treats an empty schema as a missing one.
        return {"description": "Any value."}
    raise NotImplementedError


def _replace_raw(schema: dict[str, Any], items: Mapping[str, Any]) -> None:
    for choice in schema.get("anyOf", (schema,)):
        if choice.get("type") == "array":
            choice["items"] = items


def _name(name: str, derived: Container[str]) -> str:
    """The name of a component for a struct.

    Args:
        name: msgspec's name. It has the module if two structs have the same name.
        derived: msgspec's names of all structs.
    """
    module, _, own = name.removeprefix(_ROOM).rpartition(".")
    public = own.lstrip("_")
    if own != public and public in derived:
        public += "Param"
    return ".".join(part for part in (module, public) if part)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if isinstance(node, str) and node.startswith(_REFERENCE):
        return _REFERENCE + names[node.removeprefix(_REFERENCE)]
    if not isinstance(node, dict):
        return node
    return {key: _renamed(value, names) for key, value in node.items()}
