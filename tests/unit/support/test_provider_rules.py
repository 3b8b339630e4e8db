"""The scripted provider passes good bodies, and refuses bad ones by their rule."""

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.generate_provider_types import TABLE
from tests.support.provider_models import MODELS
from tests.support.provider_rules import violations
from tests.support.provider_types import BETAS
from tests.unit.support.provider_bodies import (
    ADAPTIVE,
    CACHE,
    CALL,
    HAIKU,
    OFF,
    OLD,
    OPUS,
    RESULT,
    SONNET,
    TEXT,
    TOOL,
    USER,
    assistant,
    body,
    user,
)

LONG = {"type": "ephemeral", "ttl": "1h"}
CONTEXT = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}


def loop(*blocks: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A tool loop whose last message has the given blocks."""
    tools = fields.pop("tools", [TOOL])
    called = assistant(*fields.pop("called", (CALL,)))
    return body(USER, called, user(*blocks), tools=tools, **fields)


def schema(**fields: Any) -> dict[str, Any]:
    """A request with a tool of such a schema."""
    return body(tools=[{"name": "look", "input_schema": {"type": "object", **fields}}])


def formatted(schema: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    config = {"format": {"type": "json_schema", "schema": schema}}
    return body(output_config=config, **fields)


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def png(width: int, height: int) -> dict[str, Any]:
    """An image block; what says its size is all there is of the image."""
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    source = {"type": "base64", "media_type": "image/png"}
    return {
        "type": "image",
        "source": {**source, "data": base64.b64encode(data).decode()},
    }


def jpeg(width: int, height: int) -> dict[str, Any]:
    data = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08"
    data += struct.pack(">HH", height, width)
    source = {"type": "base64", "media_type": "image/jpeg"}
    return {
        "type": "image",
        "source": {**source, "data": base64.b64encode(data).decode()},
    }


def pdf(pages: int) -> dict[str, Any]:
    data = base64.b64encode(b"%PDF-1.4 /Type /Pages " + b"/Type /Page " * pages)
    source = {"type": "base64", "media_type": "application/pdf"}
    return {"type": "document", "source": {**source, "data": data.decode()}}


def marked(*controls: Any) -> list[dict[str, Any]]:
    return [{**TEXT, "cache_control": control} for control in controls]


def document(*parts: Any) -> dict[str, Any]:
    source = {"type": "content", "content": list(parts)}
    return {"type": "document", "source": source}


def found(*parts: Any) -> dict[str, Any]:
    about = {"source": "https://x.example", "title": "x"}
    return {"type": "search_result", "content": list(parts), **about}


# What the CLI sends of itself, and other bodies that nothing is wrong with.
GOOD: Mapping[str, dict[str, Any]] = {
    "plain": body(),
    "1: two of one role": body(USER, USER),
    "3: a text that is only almost blank": body(user({**TEXT, "text": " .\n"})),
    "4: prefill": body(USER, assistant(TEXT), model=OLD),
    "4: an answer that paused": body(
        USER,
        assistant({**CALL, "type": "server_tool_use", "name": "web_search"}),
    ),
    "5: system at the end": body(USER, {"role": "system", "content": "Be brief."}),
    "5: system in the middle": body(
        USER, {"role": "system", "content": "Be brief."}, assistant(TEXT), USER
    ),
    "7: all that is allowed": body(
        metadata={"user_id": "me"},
        system=[TEXT],
        service_tier="auto",
        tools=[{**TOOL, "description": "d", "strict": False, "type": "custom"}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        diagnostics={"previous_message_id": None},
        inference_geo="us",
    ),
    "9: parallel calls": loop(
        RESULT,
        {**RESULT, "tool_use_id": "b", "content": [TEXT]},
        TEXT,
        called=(TEXT, CALL, {**CALL, "id": "b"}),
    ),
    "9: calls in two messages": body(
        USER,
        assistant(CALL),
        assistant({**CALL, "id": "b"}),
        user(RESULT, {**RESULT, "tool_use_id": "b"}),
        tools=[TOOL],
    ),
    "12: a result without content": loop(
        {"type": "tool_result", "tool_use_id": "toolu_1"}
    ),
    "12: an empty result": loop({**RESULT, "content": ""}),
    "14: a breakpoint on a result": loop({**RESULT, "cache_control": CACHE}),
    "16: a programmatic call": loop(
        RESULT,
        called=(
            {
                **CALL,
                "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"},
            },
        ),
    ),
    "17: off, with little effort": body(
        model=HAIKU, thinking=OFF, output_config={"effort": "high"}
    ),
    "17: between tools": body(thinking={"type": "between_tools"}),
    "18: a budget": body(
        model=OLD,
        max_tokens=1025,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ),
    "28: names of all sorts": body(tools=[{**TOOL, "name": "a-B_9" * 25}]),
    "29: demanded of a model that takes it": body(
        model=HAIKU,
        thinking=OFF,
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "look"},
    ),
    "31: any schema within": schema(
        properties={"a.b-c_1": {"anyOf": [{"type": "string"}, {"minimum": 3}]}},
        title="t",
    ),
    "32: strict": body(
        tools=[{**TOOL, "strict": True, "input_schema": closed(a={"type": "string"})}]
    ),
    "33: one that is loaded": body(
        tools=[TOOL, {**TOOL, "name": "later", "defer_loading": True}]
    ),
    "34: web search": body(
        tools=[{"type": "web_search_20260209", "name": "web_search", "max_uses": 1}]
    ),
    "35: nothing, not streamed": body(max_tokens=0, stream=False),
    "36: sampling": body(model=OLD, temperature=0.5, top_k=3, top_p=0.9),
    "36: the default": body(temperature=1),
    "37: effort": body(output_config={"effort": "max"}),
    "38: a format": formatted(
        {
            **closed(
                a={"$ref": "#/$defs/b"}, c={"type": "array", "items": {"const": 1}}
            ),
            "$defs": {"b": {"enum": ["x", None]}},
        }
    ),
    "40: images": body(user(*[png(2000, 2000)] * 21, jpeg(8, 9), pdf(100))),
    "40: large ones": body(user(*[png(8000, 3)] * 20)),
    "41: four": body(user(*marked(CACHE, CACHE)), system=marked(CACHE, CACHE)),
    "42: longer before shorter": body(
        user(*marked(LONG, CACHE)), tools=[{**TOOL, "cache_control": LONG}]
    ),
    "43: automatic": body(
        user(TEXT), system=marked(CACHE, CACHE, CACHE), cache_control=CACHE
    ),
}


# The rule, what breaks it, and something of the words in which it is refused.
BAD: list[tuple[int, dict[str, Any], str]] = [
    (2, {**body(), "messages": []}, "messages: at least one message is required"),
    (2, body(*[USER] * 100_001), "at most 100000 items"),
    (3, body({**USER, "content": ""}), "user messages must have non-empty content"),
    (3, body({**USER, "content": []}), "user messages must have non-empty content"),
    (3, body({**USER, "content": "\n "}), "must contain non-whitespace text"),
    (3, body(user({**TEXT, "text": ""})), "messages: text content blocks must be non-"),
    (3, body(user({**TEXT, "text": " "})), "must contain non-whitespace text"),
    (3, body(system=[{**TEXT, "text": ""}]), "system: text content blocks"),
    (
        3,
        body(user({**TEXT, "text": "", "cache_control": CACHE})),
        "cache_control cannot be set for empty text blocks",
    ),
    (4, body(USER, assistant(TEXT)), "does not support assistant message prefill"),
    (3, body(user(document({**TEXT, "text": ""}))), "must be non-empty"),
    (3, body(user(found({**TEXT, "text": " "}))), "must contain non-whitespace"),
    (
        3,
        loop({**RESULT, "content": [found({**TEXT, "text": " "})]}),
        "must contain non-whitespace",
    ),
    (
        4,
        body(USER, assistant({**TEXT, "text": "so "}), model=OLD),
        "cannot end with trailing whitespace",
    ),
    (
        5,
        body(USER, {"role": "system", "content": "x"}, model="claude-sonnet-5"),
        "role 'system' is not supported on this model",
    ),
    (5, body({"role": "system", "content": "x"}), "must follow a `user` message"),
    (
        5,
        body(USER, assistant(TEXT), {"role": "system", "content": "x"}),
        "must follow a `user` message",
    ),
    (5, body(USER, {"role": "system", "content": "x"}, USER), "be the last message"),
    (6, body({**USER, "content": "a\ud800b"}), "not valid JSON"),
    (7, body(reasoning_effort="low"), "reasoning_effort: Extra inputs are not permit"),
    (7, body({**USER, "name": "me"}), "messages.0.name: Extra inputs are not permitt"),
    (
        7,
        body(user({**TEXT, "index": 0})),
        "messages.0.content.0.text.index: Extra inputs are not permitted",
    ),
    (7, body(tools=[{**TOOL, "parameters": {}}]), "tools.0.custom.parameters: Extra"),
    (
        7,
        body(tools=[TOOL], tool_choice={"type": "auto", "name": "look"}),
        "tool_choice.auto.name: Extra inputs",
    ),
    (
        7,
        body(thinking={"type": "between_tools", "display": "omitted"}),
        "thinking.between_tools.display: Extra inputs",
    ),
    (7, body(output_config={"verbosity": "low"}), "output_config.verbosity: Extra"),
    (7, body(metadata={"user": "me"}), "metadata.user: Extra inputs"),
    (
        7,
        body(user({**TEXT, "cache_control": {**CACHE, "beta": 1}})),
        "messages.0.content.0.text.cache_control.ephemeral.beta: Extra",
    ),
    (7, body(user({"type": "input_text", "text": "x"})), "Input tag 'input_text'"),
    (7, body({"role": "tool", "content": "x"}), "messages.0.role: Input should be"),
    (7, body(max_tokens=None), "max_tokens: Field required"),
    (7, body(max_tokens="9"), "max_tokens: Input should be a valid integer"),
    (7, body(stop_sequences="x"), "stop_sequences: Input should be a valid list"),
    (7, body(service_tier="flex"), "service_tier: Input should be 'auto' or"),
    (
        7,
        body(user({**png(1, 1), "source": {"type": "base64", "data": "eA=="}})),
        "source.base64.media_type: Field required",
    ),
    (8, body({**USER, "content": "a" * 32_000_001}), "exceeds the maximum size"),
    (9, loop(TEXT), "without `tool_result` blocks immediately after: toolu_1"),
    (9, loop(TEXT, RESULT), "without `tool_result` blocks immediately after"),
    (
        9,
        body(USER, assistant(CALL), tools=[TOOL], model=OLD),
        "without `tool_result` blocks immediately after",
    ),
    (9, body(user(RESULT), tools=[TOOL]), "messages.0.content.0: unexpected `tool_use"),
    (9, loop(RESULT, RESULT), "must have a single result"),
    (
        9,
        body(
            USER,
            assistant(CALL, {**CALL, "id": "b"}),
            user(RESULT),
            user({**RESULT, "tool_use_id": "b"}),
            tools=[TOOL],
        ),
        "without `tool_result` blocks immediately after: b.",
    ),
    (9, body(user(CALL), tools=[TOOL]), "can only be in `assistant` messages"),
    (
        10,
        loop(
            {**RESULT, "tool_use_id": "call:1"},
            called=({**CALL, "id": "call:1"},),
        ),
        "messages.1.content.0.tool_use.id: String should match pattern",
    ),
    (
        10,
        body(*loop(RESULT)["messages"], assistant(CALL), user(RESULT), tools=[TOOL]),
        "`tool_use` ids must be unique",
    ),
    (
        11,
        loop(RESULT, called=({**CALL, "input": "{}"},)),
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    (
        12,
        loop({**RESULT, "content": [{**TEXT, "text": ""}]}),
        "must be non-empty",
    ),
    (
        14,
        loop({**RESULT, "content": [{**TEXT, "cache_control": CACHE}]}),
        "not supported inside `tool_result`",
    ),
    (15, loop(RESULT, tools=[]), "must define tools"),
    (15, loop(RESULT, tools=None), "must define tools"),
    (
        16,
        loop(
            RESULT,
            TEXT,
            called=(
                {
                    **CALL,
                    "caller": {"type": "code_execution_20260120", "tool_id": "s"},
                },
            ),
        ),
        "only `tool_result` blocks",
    ),
    (17, body(model=OPUS, thinking=OFF), '"thinking.type.disabled" is not supported'),
    (17, body(thinking=OFF), '"thinking.type.disabled" is not supported for this'),
    (
        17,
        body(model="claude-opus-4-7", thinking={"type": "enabled", "budget_tokens": 1}),
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.a',
    ),
    (17, body(model=OLD, thinking=ADAPTIVE), "adaptive thinking is not supported"),
    (
        17,
        body(model=HAIKU, thinking=OFF, output_config={"effort": "max"}),
        'not supported with effort "max"',
    ),
    (
        18,
        body(model=OLD, thinking={"type": "enabled", "budget_tokens": 1023}),
        "thinking.enabled.budget_tokens: Input should be greater",
    ),
    (
        18,
        body(model=OLD, thinking={"type": "enabled", "budget_tokens": 1024}),
        "`max_tokens` must be greater than",
    ),
    (28, body(tools=[{**TOOL, "name": "a.b"}]), "tools.0.custom.name: String should"),
    (28, body(tools=[{**TOOL, "name": "a" * 129}]), "tools.0.custom.name: String"),
    (
        28,
        loop(RESULT, called=({**CALL, "name": "a b"},)),
        "messages.1.content.0.tool_use.name: String should match",
    ),
    (28, body(tools=[TOOL, TOOL]), "tools: Tool names must be unique"),
    (
        28,
        body(
            tools=[
                {**TOOL, "name": "web_search"},
                {"type": "web_search_20260209", "name": "web_search"},
            ]
        ),
        "tools: Tool names must be unique",
    ),
    (
        29,
        body(tools=[TOOL], tool_choice={"type": "any"}),
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    (
        29,
        body(
            model=OLD,
            max_tokens=2000,
            tools=[TOOL],
            tool_choice={"type": "any"},
            thinking={"type": "enabled", "budget_tokens": 1024},
        ),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        29,
        body(model=HAIKU, tools=[TOOL], tool_choice={"type": "any"}),
        "Thinking may not be enabled",
    ),
    (
        29,
        body(model=OLD, tools=[TOOL], tool_choice={"type": "tool", "name": "gone"}),
        "Tool 'gone' not found in provided tools",
    ),
    (
        7,
        body(
            tools=[TOOL],
            tool_choice={"type": "none", "disable_parallel_tool_use": True},
        ),
        "tool_choice.none.disable_parallel_tool_use: Extra inputs",
    ),
    (30, body(tool_choice={"type": "auto"}), "only be specified while providing tools"),
    (31, schema(type="array"), "tools.0.custom.input_schema.type: Input should be"),
    (31, body(tools=[{**TOOL, "input_schema": {}}]), "input_schema.type: Field requ"),
    (
        31,
        schema(anyOf=[{"required": ["a"]}]),
        "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or",
    ),
    (31, schema(properties={"a b": {}}), "Property keys should match pattern"),
    (
        31,
        schema(properties={"a": {"properties": {"ü": {}}}}),
        "Property keys should match pattern",
    ),
    (31, schema(required="a"), "input_schema.required: Input should be a valid list"),
    (31, schema(properties={"a": {"type": "text"}}), "JSON schema is invalid"),
    (
        32,
        body(tools=[{**TOOL, "strict": True}]),
        "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly",
    ),
    (
        32,
        body(
            tools=[
                {"name": f"t{n}", "strict": True, "input_schema": closed()}
                for n in range(21)
            ]
        ),
        "Too many strict tools (21)",
    ),
    (33, body(tools=[{**TOOL, "defer_loading": True}]), "At least one tool must have"),
    (
        33,
        body(
            tools=[
                TOOL,
                {**TOOL, "name": "b", "defer_loading": True, "cache_control": CACHE},
            ]
        ),
        "cannot have both defer_loading=true and cache_control",
    ),
    (
        34,
        body(model=OLD, tools=[{"type": "web_search_20260209", "name": "web_search"}]),
        "'web_search_20260209' is not supported",
    ),
    (
        34,
        body(
            tools=[
                {
                    "type": "web_search_20260209",
                    "name": "web_search",
                    "allowed_domains": ["a.example"],
                    "blocked_domains": ["b.example"],
                }
            ]
        ),
        "Only one of allowed_domains",
    ),
    (35, body(max_tokens=128_001), "max_tokens: 128001 > 128000, which is the maximum"),
    (35, body(model=OLD, max_tokens=64_001), "max_tokens: 64001 > 64000"),
    (35, body(max_tokens=0), "max_tokens: Input should be greater"),
    (36, body(model=OPUS, temperature=1), "`temperature` is deprecated for this model"),
    (36, body(top_p=0.9), "`top_p` is deprecated for this model"),
    (36, body(top_k=1), "`top_k` is deprecated for this model"),
    (
        36,
        body(
            model=OLD,
            max_tokens=2000,
            temperature=0.5,
            thinking={"type": "enabled", "budget_tokens": 1024},
        ),
        "may only be set to 1 when thinking is enabled",
    ),
    (36, body(model=OLD, temperature=1.5), "temperature: range: 0..1"),
    (
        37,
        body(model=OLD, output_config={"effort": "low"}),
        "does not support the effor",
    ),
    (
        37,
        body(model="claude-opus-4-6", output_config={"effort": "xhigh"}),
        "effort level 'xhigh'",
    ),
    (38, formatted({"type": "object"}), "'additionalProperties' must be explicitly"),
    (
        38,
        formatted(closed(a={"type": "integer", "minimum": 1})),
        "output_config.format.schema: For 'integer' type, property 'minimum' is not s",
    ),
    (
        38,
        formatted(closed(a={"type": "array", "minItems": 2})),
        "'minItems' values other than 0 or 1",
    ),
    (
        38,
        formatted(
            {
                **closed(a={"$ref": "#/$defs/a"}),
                "$defs": {"a": closed(b={"$ref": "#/$defs/a"})},
            }
        ),
        "Recursive schemas",
    ),
    (38, formatted(closed(a={"$ref": "https://example/x"})), "'$ref' to 'https:"),
    (
        38,
        formatted({**closed(**{f"p{n}": {} for n in range(25)}), "required": []}),
        "Too many optional parameters (25",
    ),
    (
        38,
        formatted(closed(**{f"p{n}": {"anyOf": [{}]} for n in range(17)})),
        "Too many parameters with union types (17",
    ),
    (
        38,
        {
            **formatted(closed()),
            "messages": [user(TEXT, {**pdf(1), "citations": {"enabled": True}})],
        },
        "Citations cannot be enabled",
    ),
    (
        38,
        {**formatted(closed(), model=OLD), "messages": [USER, assistant(TEXT)]},
        "with assistant message prefill",
    ),
    (39, body(stop_sequences=["x", "\n"]), "must contain non-whitespace"),
    (40, body(user(png(8001, 1))), "exceed max allowed size: 8000 pixels"),
    (40, body(user(jpeg(1, 8001))), "exceed max allowed size: 8000 pixels"),
    (
        40,
        body(user(*[png(2001, 1)] * 21)),
        "exceed max allowed size for many-image requests: 2000 pixels",
    ),
    (40, body(user(*[png(1, 1)] * 101), model=OLD), "Too many images: 101 > 100"),
    (40, body(user(*[png(1, 1)] * 601)), "Too many images: 601 > 600"),
    (
        40,
        loop({**RESULT, "content": [png(9000, 1)]}),
        "messages.2.content.0.tool_result.content.0.image.source.base64.data: At leas",
    ),
    (40, body(user(pdf(601))), "A maximum of 600 PDF pages"),
    (
        41,
        body(user(*marked(CACHE, CACHE, CACHE)), system=marked(CACHE, CACHE)),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        41,
        body(
            user(document(*marked(CACHE, CACHE, CACHE)), found(*marked(CACHE, CACHE)))
        ),
        "Found 5.",
    ),
    (
        42,
        body(user(*marked(LONG)), system=marked(CACHE)),
        "messages.0.content.0.cache_control.ttl: a ttl='1h' cache_control block must",
    ),
    (42, body(system=marked(CACHE), cache_control=LONG), "a ttl='1h' cache_control"),
    (
        43,
        body(system=marked(CACHE, CACHE, CACHE, CACHE), cache_control=CACHE),
        "A maximum of 4 blocks",
    ),
    (43, body(user(*marked(LONG)), cache_control=CACHE), "with another ttl"),
    (48, body(context_management=CONTEXT), "context_management: Extra inputs"),
    (
        48,
        body(thinking={**ADAPTIVE, "block_binding": {}}),
        "thinking.adaptive.block_binding: Extra inputs",
    ),
    (48, body(thinking={**ADAPTIVE, "display": "updates"}), "thinking.adaptive.displa"),
    (
        48,
        body(mcp_servers=[{"type": "url", "url": "https://a", "name": "a"}]),
        "mcp_servers: Extra inputs",
    ),
    (48, body(speed="fast"), "speed: Extra inputs"),
    (48, body(thread={"type": "create"}), "thread: Extra inputs"),
    (
        48,
        body(output_config={"task_budget": {"type": "tokens", "total": 9}}),
        "output_config.task_budget: Extra inputs",
    ),
    (
        48,
        body(user({"type": "compaction", "content": "x"})),
        "Input tag 'compaction'",
    ),
]


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert violations(GOOD[name], betas=()) == []


@pytest.mark.parametrize(
    ("rule", "bad", "words"),
    BAD,
    ids=[f"{rule}-{words[:40]}" for rule, _, words in BAD],
)
def test_is_refused(rule: int, bad: dict[str, Any], words: str) -> None:
    found = violations(bad, betas=())
    assert [v for v in found if v.rule == rule and words in v.message], found
    assert {v.rule for v in found} == {rule}


@pytest.mark.parametrize(
    ("fields", "beta"),
    [
        ({"context_management": CONTEXT}, "context-management-2025-06-27"),
        ({"speed": "fast"}, "fast-mode-2026-02-01"),
        (
            {"thinking": {**ADAPTIVE, "display": "updates"}},
            "thinking-display-updates-2026-08-18",
        ),
        (
            {"thinking": {**ADAPTIVE, "block_binding": {}}},
            "thinking-binding-controls-2026-08-01",
        ),
    ],
)
def test_a_beta_in_the_header_opens_its_fields(
    fields: dict[str, Any], beta: str
) -> None:
    assert violations(body(**fields), betas=[beta]) == []
    assert {v.rule for v in violations(body(**fields), betas=["another"])} == {48}


def test_the_provider_says_the_first_of_several() -> None:
    broken = body(user({**TEXT, "index": 1}), temperature=0.1, tools=[TOOL, TOOL])
    assert [v.message for v in violations(broken, betas=())] == [
        "messages.0.content.0.text.index: Extra inputs are not permitted"
    ]
    del broken["messages"][0]["content"][0]["index"]
    assert [v.rule for v in violations(broken, betas=())] == [28, 36]


def test_a_model_that_nobody_knows_may_do_anything() -> None:
    odd = body(
        USER,
        assistant(TEXT),
        model="claude-next",
        temperature=0.3,
        thinking={"type": "enabled", "budget_tokens": 1024},
        max_tokens=10**6,
    )
    assert {v.rule for v in violations(odd, betas=())} == {36}
    del odd["temperature"]
    assert violations(odd, betas=()) == []


@pytest.mark.parametrize("model", ["claude-haiku-4-5-20251001", "claude-opus-4-5[1m]"])
def test_dates_are_no_other_models(model: str) -> None:
    assert violations(body(model=model, temperature=0.1), betas=()) == []
    assert violations(body(model=model, thinking=ADAPTIVE), betas=()) != []


def test_each_field_that_is_only_beta_names_its_beta() -> None:
    types = json.loads(TABLE.read_text())["types"]
    only = {
        key: f"{name}.{key}"
        for name, about in types.items()
        if set(about["beta"]) < set(about["fields"])
        for key in about["beta"]
    }
    assert {key for key, full in only.items() if not {key, full} & set(BETAS)} == set()


def test_the_models_of_the_cli_are_known() -> None:
    assert {OPUS, SONNET, HAIKU, "claude-fable-5-2"} <= set(MODELS)
