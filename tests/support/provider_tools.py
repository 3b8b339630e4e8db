"""The provider's rules for tools, schemas and required calls.

Rules 28 to 34 and 38 of the rules of the Messages API (see `provider_rules`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.json_schema import is_schema
from tests.support.provider_models import ModelRules
from tests.support.provider_violation import Violation

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_MOST_STRICT = 20
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_ROOT_UNIONS = ("oneOf", "allOf", "anyOf")

# What a grammar can be made of. Source: Structured Outputs, "JSON Schema limitations".
_KEYWORDS = frozenset(
    {
        *("type", "enum", "const", "title", "description", "default", "examples"),
        *("properties", "required", "additionalProperties", "items", "minItems"),
        *("anyOf", "allOf", "$ref", "$defs", "definitions", "$schema", "$id"),
        *("format", "pattern", "$comment", "deprecated", "readOnly", "writeOnly"),
    }
)
_FORMATS = frozenset(
    {
        *("date-time", "time", "date", "duration"),
        *("email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
    }
)
_NEW_WEB_SEARCH = ("web_search_20260209", "web_search_20260318")


def tool_violations(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """The violations in ``tools``, ``tool_choice`` and ``output_config``."""
    tools = body.get("tools", [])
    for index, tool in enumerate(tools):
        kind = tool.get("type") or "custom"
        place = f"tools.{index}.{kind}"
        if kind == "custom":
            yield from _custom(tool, place)
        yield from _server_tool(tool, place, rules)
    yield from _names(tools)
    yield from _called_names(body)
    yield from _deferred(tools)
    yield from _choice(body, rules)
    strict = [tool for tool in tools if tool.get("strict")]
    if len(strict) > _MOST_STRICT:
        words = f"Too many strict tools ({len(strict)}). The maximum is {_MOST_STRICT}."
        yield Violation.at(32, "tools", words)
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is not None:
        yield from grammar_violations(schema, "output_config.format.schema", 38)
    together = [tool["input_schema"] for tool in strict]
    together += [] if schema is None else [schema]
    if len(together) > 1:
        yield from _too_many(together, "tools", 38)


def _custom(tool: Mapping[str, Any], place: str) -> Iterator[Violation]:
    """28, 31 and 32: the name and the schema of a client's tool."""
    if not _NAME.fullmatch(tool["name"]):
        words = f"String should match pattern '^{_NAME.pattern}$'"
        yield Violation.at(28, f"{place}.name", words)
    schema = tool["input_schema"]
    where = f"{place}.input_schema"
    if "type" not in schema:
        yield Violation.at(31, f"{where}.type", "Field required")
    elif schema["type"] != "object":
        yield Violation.at(31, f"{where}.type", "Input should be 'object'")
    if any(key in schema for key in _ROOT_UNIONS):
        words = "input_schema does not support oneOf, allOf, or anyOf at the top level"
        yield Violation.at(31, where, words)
    if any(not _PROPERTY.fullmatch(key) for key in _property_names(schema)):
        words = f"Property keys should match pattern '^{_PROPERTY.pattern}$'"
        yield Violation.at(31, f"{where}.properties", words)
    if not is_schema(schema):
        words = "JSON schema is invalid. It must match JSON Schema draft 2020-12"
        yield Violation.at(31, where, words)
        return
    if tool.get("strict"):
        yield from grammar_violations(schema, place, 32)


def _property_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            yield from properties
        for key, value in schema.items():
            if key not in ("const", "default", "enum", "examples"):
                yield from _property_names(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _property_names(each)


def _server_tool(
    tool: Mapping[str, Any], place: str, rules: ModelRules
) -> Iterator[Violation]:
    """34: versions of web search, and its domains."""
    kind = tool.get("type") or "custom"
    if kind in _NEW_WEB_SEARCH and not rules.new_web_search:
        yield Violation(34, place, f"'{kind}' is not supported on this model")
    if tool.get("allowed_domains") and tool.get("blocked_domains"):
        words = "Only one of allowed_domains and blocked_domains may be given"
        yield Violation.at(34, place, words)


def _names(tools: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """28: no name is used twice, also by server tools."""
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) < len(names):
        yield Violation.at(28, "tools", "Tool names must be unique.")


def _called_names(body: Mapping[str, Any]) -> Iterator[Violation]:
    """28: the names of calls in the history."""
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if block["type"] == "tool_use" and not _NAME.fullmatch(block["name"]):
                words = f"String should match pattern '^{_NAME.pattern}$'"
                place = f"messages.{number}.content.{index}.tool_use.name"
                yield Violation.at(28, place, words)


def _deferred(tools: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """33: tools that are loaded after a search only."""
    deferred = [tool for tool in tools if tool.get("defer_loading")]
    if deferred and len(deferred) == len(tools):
        words = "At least one tool must have defer_loading=false."
        yield Violation.at(33, "tools", words)
    for tool in deferred:
        if tool.get("cache_control"):
            words = (
                f"Tool '{tool.get('name')}' cannot have both defer_loading=true and "
                "cache_control set. Tools with defer_loading cannot use prompt caching."
            )
            yield Violation.at(33, "tools", words)


def _choice(body: Mapping[str, Any], rules: ModelRules) -> Iterator[Violation]:
    """29 and 30: which calls may be required, by model and thinking."""
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not body.get("tools"):
        words = "tool_choice may only be specified while providing tools"
        yield Violation.at(30, "tool_choice", words)
        return
    if choice["type"] not in ("any", "tool"):
        return
    kind = (body.get("thinking") or {}).get("type")
    if not rules.forced_tools:
        words = 'type "tool" and "any" are not supported for this model.'
        yield Violation.at(29, "tool_choice", words)
    elif kind in ("adaptive", "enabled", "between_tools") or (
        kind is None and rules.thinks_by_default
    ):
        words = "Thinking may not be enabled when tool_choice forces tool use."
        yield Violation(29, "tool_choice", words)
    names = [tool.get("name") for tool in body["tools"]]
    if choice["type"] == "tool" and choice["name"] not in names:
        words = f"Tool '{choice['name']}' not found in provided tools"
        yield Violation(29, "tool_choice", words)


def grammar_violations(
    schema: Mapping[str, Any], place: str, rule: int
) -> Iterator[Violation]:
    """32 and 38: parts of a schema that the provider cannot enforce."""
    found = list(_ungrammatical(schema, schema, ()))
    for words in dict.fromkeys(found):
        yield Violation.at(rule, place, words)
    yield from _too_many([schema], place, rule)


def _too_many(schemas: Sequence[Any], place: str, rule: int) -> Iterator[Violation]:
    """38: the optional properties and unions of all schemas together."""
    counts = [_count(schema) for schema in schemas]
    optional, unions = sum(o for o, _ in counts), sum(u for _, u in counts)
    if optional > _MOST_OPTIONAL:
        words = f"Too many optional parameters ({optional}, the limit is 24)."
        yield Violation.at(rule, place, words)
    if unions > _MOST_UNIONS:
        words = f"Too many parameters with union types ({unions}, the limit is 16)."
        yield Violation.at(rule, place, words)


def _ungrammatical(
    schema: Any, root: Mapping[str, Any], within: tuple[str, ...]
) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        if schema is not True:
            yield "Boolean schemas are not supported"
        return
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    is_object = "object" in kinds or "properties" in schema
    if is_object and schema.get("additionalProperties") is not False:
        yield (
            "For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    if schema.get("minItems", 0) not in (0, 1):
        yield "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"For 'string' type, format '{schema['format']}' is not supported"
    for key in schema:
        if key not in _KEYWORDS:
            yield f"For '{kinds[0]}' type, property '{key}' is not supported"
    if any(isinstance(value, (dict, list)) for value in schema.get("enum", ())):
        yield "Complex types in 'enum' are not supported"
    reference = schema.get("$ref")
    if reference is not None:
        if reference in within:
            yield "Recursive schemas are not supported"
            return
        target = _resolve(root, reference)
        if target is None:
            yield f"'$ref' to '{reference}' is not supported"
        else:
            yield from _ungrammatical(target, root, (*within, reference))
    for each in _children(schema):
        yield from _ungrammatical(each, root, within)


def _children(schema: Mapping[str, Any]) -> Iterator[Any]:
    yield from schema.get("properties", {}).values()
    if "items" in schema:
        yield schema["items"]
    for key in ("anyOf", "allOf", "oneOf"):
        yield from schema.get(key, ())


def _resolve(root: Mapping[str, Any], reference: str) -> Any:
    if not reference.startswith("#"):
        return None
    value: Any = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _count(schema: Any) -> tuple[int, int]:
    """The number of optional properties, and of unions of types."""
    optional = unions = 0
    if isinstance(schema, Mapping):
        properties = schema.get("properties", {})
        required = schema.get("required")
        named = required if isinstance(required, list) else ()
        optional += len(set(properties) - set(named))
        for each in properties.values():
            if isinstance(each, Mapping):
                unions += "anyOf" in each or isinstance(each.get("type"), list)
        children = [*_children(schema), *schema.get("$defs", {}).values()]
        counts = [_count(child) for child in children]
        optional += sum(count for count, _ in counts)
        unions += sum(count for _, count in counts)
    return optional, unions
