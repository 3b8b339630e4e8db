"""Answers that satisfy a request: a required call, or JSON of its schema."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words

_PLAIN: Mapping[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}
_DATE = "2026-11-28"


def fitting_reply(body: Mapping[str, Any], offered: Collection[str] = ()) -> Reply:
    """The answer of a model that follows the request.

    Args:
        body: as it went upstream.
        offered: the names of the client's tools, if they are known: a tool that is not
            among them is the server's own, to be called with the answer.
    """
    tools = [tool for tool in body.get("tools", []) if "input_schema" in tool]
    own = [tool for tool in tools if offered and tool["name"] not in offered]
    choice = body.get("tool_choice") or {"type": "auto"}
    if choice["type"] == "tool":
        own = [tool for tool in tools if tool["name"] == choice["name"]] or own
    elif choice["type"] == "any" and tools:
        own = own or tools[:1]
    if own:
        arguments = json.dumps(fitting_value(own[0]["input_schema"]))
        call = ScriptedBlock((arguments,), tool_use=("toolu_fits", own[0]["name"]))
        return Reply(blocks=(call,), stop_reason="tool_use")
    form = (body.get("output_config") or {}).get("format")
    if form is not None:
        text = json.dumps(fitting_value(form["schema"]))
        return Reply(blocks=(ScriptedBlock((text,)),))
    return Reply(blocks=(words("one two three"),))


def fitting_value(schema: Any, root: Any = None) -> Any:
    """A value that satisfies a schema, which the provider must be able to enforce."""
    whole = schema if root is None else root
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        target = whole
        for part in schema["$ref"].split("/")[1:]:
            target = target[part]
        return fitting_value(target, whole)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return fitting_value(schema[key][0], whole)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: fitting_value(each, whole) for key, each in properties.items()}
    if kind == "array":
        return [fitting_value(schema.get("items", {}), whole)]
    return _DATE if schema.get("format") == "date" else _PLAIN[kind]
