"""Corrections of requests of the Messages API, and their report in the headers.

A request of each kind in the list of `docs/upstream.md`, on the real CLI: what goes up,
and what the headers name. `test_bodies` finds no other difference.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from pytest_twisted import ensureDeferred

from tests.support.comparison import differences
from tests.support.docs import DOCS, rows
from tests.support.fitting_replies import fitting_reply
from tests.support.messages_requests import MODEL_MAP, png
from tests.support.naming import named
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]
Message = dict[str, Any]

CACHE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
OBJECT = {"type": "object"}
OPUS, SONNET_5 = "claude-opus-5-5", "claude-sonnet-5"
# It thinks by budget, and takes a prefill.
SONNET_4_5 = "claude-sonnet-4-5"
TOOLS = [{"name": "look", "input_schema": OBJECT}]
OLDER = {
    "type": "object",
    "properties": {
        "pair": {"items": [{"type": "string"}], "additionalItems": False},
        "n": {"minimum": 1, "exclusiveMinimum": True, "required": True},
        "a": {"$id": "#a"},
        "again": {"$recursiveRef": "#"},
    },
}
NEWER = {
    "type": "object",
    "properties": {
        "pair": {"prefixItems": [{"type": "string"}], "items": False},
        "n": {"exclusiveMinimum": 1},
        "a": {"$anchor": "a"},
        "again": {"$ref": "#"},
    },
    "required": ["n"],
}


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def image(kind: str, data: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": kind, "data": data}
    return {"type": "image", "source": source}


def user(*content: Any) -> Message:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Message:
    return {"role": "assistant", "content": list(content)}


def system(said: str) -> Message:
    return {"role": "system", "content": said}


def call(identifier: str = "a", arguments: Any = None) -> dict[str, Any]:
    about = {"type": "tool_use", "id": identifier, "name": "look"}
    return {**about, "input": {} if arguments is None else arguments}


def result(identifier: str = "a", content: Any = "seen") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identifier, "content": content}


def document(*content: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": content}}


def loop(calls: Any, *results: Any) -> dict[str, Any]:
    """A conversation with a call and its result."""
    told = [user(text("hi")), assistant(calls), user(*results)]
    return {"tools": TOOLS, "messages": told}


@frozen
class Mending:
    """Of a kind of the list: what is sent, what is named, and what goes up instead."""

    kind: str
    sent: Mapping[str, Any]
    named: tuple[str, ...]
    wanted: Mapping[str, Any] = field(factory=dict)
    model: str = OPUS


OWN = "a system prompt that the CLI would take for its own attribution or identity"
BILLING = "x-anthropic-billing-header:"
IDENTITY = "You are Claude Code, Anthropic's official CLI for Claude."
BOUNDARY = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"
HI = user(text("hi"))
SAID = assistant(text("so"))
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": ""}
FOREIGN = {**THOUGHT, "signature": "gAAAAABo"}
BREAK = text("a", cache_control=CACHE)
NUMBER = {"n": 2**53 + 1}
# Behind the name of a field that has been there.
AGAIN = " again"
TWICE = {**OBJECT, "title": "a", f"title{AGAIN}": "b"}
MENDINGS = [
    Mending(
        "blank text",
        {"messages": [user(text("hi"), text(" \n"))]},
        ("messages[0].content[1]",),
        {"messages": [HI]},
    ),
    Mending(
        "blank text",
        {"messages": [HI, {"role": "assistant", "content": ""}, HI]},
        ("messages[1].content",),
        {"messages": [HI, HI]},
    ),
    Mending(
        "blank text",
        loop(call(), result(content=[text("x"), text("")])),
        ("messages[2].content[0].content[1]",),
        loop(call(), result(content=[text("x")])),
    ),
    Mending(
        "blank text",
        {"messages": [user(document(text("x"), text("")), document(text(" ")), BREAK)]},
        (
            "messages[0].content[0].source.content[1]",
            "messages[0].content[1].source.content[0]",
            "messages[0].content[1]",
        ),
        {"messages": [user(document(text("x")), BREAK)]},
    ),
    Mending(
        "blank text",
        {"system": [text("Be brief."), text(" ")]},
        ("system[1]",),
        {"system": [text("Be brief.")]},
    ),
    Mending(
        "thinking without a signature",
        {"messages": [HI, assistant(THOUGHT, text("so")), HI]},
        ("messages[1].content[0]",),
        {"messages": [HI, SAID, HI]},
    ),
    Mending(
        "thinking with the encrypted reasoning of another provider as its signature",
        {"messages": [HI, assistant(FOREIGN, text("so")), HI]},
        ("messages[1].content[0]",),
        {"messages": [HI, SAID, HI]},
    ),
    Mending(
        "a result after text",
        loop(call(), text("well"), result()),
        ("messages[2].content[1]",),
        loop(call(), result(), text("well")),
    ),
    Mending(
        "an id that the provider refuses",
        loop(call("a b"), result("a b")),
        ("messages[1].content[0].id",),
        loop(call("a_b"), result("a_b")),
    ),
    Mending(
        "the same id on two calls",
        {"tools": TOOLS, "messages": [HI, *loop(call(), result())["messages"][1:]] * 2},
        ("messages[4].content[0].id",),
        {
            "tools": TOOLS,
            "messages": [
                *loop(call(), result())["messages"],
                *loop(call("a-2"), result("a-2"))["messages"],
            ],
        },
    ),
    Mending(
        "a name of a call that the provider refuses",
        loop({**call(), "name": "functions.look"}, result()),
        ("messages[1].content[0].name",),
        loop({**call(), "name": "functions_look"}, result()),
    ),
    Mending(
        "an `input` that is no object",
        loop(call(arguments=[1]), result()),
        ("messages[1].content[0].input",),
        loop(call(arguments={"arguments": [1]}), result()),
    ),
    Mending(
        "a number that the CLI prints in another form",
        loop(call(arguments=NUMBER), result()),
        ("messages[1].content[0].input",),
    ),
    Mending(
        "a number that the CLI prints in another form",
        {"tools": [{"name": "look", "input_schema": {**OBJECT, "const": 1.0}}]},
        ("tools[0].input_schema",),
    ),
    Mending(
        "a number that the CLI prints in another form",
        {"tools": [{**TOOLS[0], "input_examples": [NUMBER]}]},
        ("tools[0].input_examples",),
    ),
    Mending(
        "fields of an object whose names are whole numbers, after others or not in "
        "ascending order",
        loop(call(arguments={"b": 1, "2": 2, "1": 3}), result()),
        ("messages[1].content[0].input",),
    ),
    Mending(
        "the same field twice in an object",
        {"tools": [{"name": "look", "input_schema": TWICE}]},
        ("tools[0].input_schema",),
        {"tools": [{"name": "look", "input_schema": {**OBJECT, "title": "b"}}]},
    ),
    Mending(
        "an unpaired surrogate",
        {"messages": [user(text("hi \ud800"))]},
        ("messages[0].content[0].text",),
    ),
    Mending(
        "breakpoints before the last two",
        {"messages": [user(BREAK, BREAK, BREAK)], "system": "Be brief."},
        ("messages[0].content[0].cache_control",),
        {"messages": [user(text("a"), BREAK, BREAK)], "system": "Be brief."},
    ),
    Mending(
        "a breakpoint of another `ttl` than the first",
        {"messages": [user(BREAK, text("b", cache_control=HOUR))]},
        ("messages[0].content[1].cache_control",),
        {"messages": [user(BREAK, text("b", cache_control=CACHE))]},
    ),
    Mending(
        "a breakpoint within a result, a document or a search result",
        loop(call(), result(content=[BREAK])),
        ("messages[2].content[0].content[0].cache_control",),
        loop(call(), {**result(content=[text("a")]), "cache_control": CACHE}),
    ),
    Mending(
        "a breakpoint within a result, a document or a search result",
        {"messages": [user(document(BREAK), document(BREAK), document(BREAK))]},
        tuple(
            f"messages[0].content[{n}].source.content[0].cache_control"
            for n in range(3)
        ),
        {
            "messages": [
                user(
                    document(text("a")),
                    *[{**document(text("a")), "cache_control": CACHE}] * 2,
                )
            ]
        },
    ),
    Mending(
        "a breakpoint, or the CLI's attribution, in `system`",
        {"system": [BREAK, text("x-anthropic-billing-header: cc_version=1;")]},
        ("system[0].cache_control", "system[1]"),
    ),
    Mending(
        OWN,
        {"system": f"{BILLING} mine\nBe brief."},
        ("system",),
        {"system": f"\n{BILLING} mine\nBe brief."},
    ),
    Mending(OWN, {"system": IDENTITY}, ("system",), {"system": f"\n{IDENTITY}"}),
    Mending(
        "a line `__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__` in the system prompt",
        {"system": f"a\n {BOUNDARY}\n\nb"},
        ("system",),
        {"system": f"a\n `{BOUNDARY}`\n\nb"},
    ),
    Mending(
        "several blocks of `system`",
        {"system": [text("Be brief."), text("Be kind.")]},
        ("system",),
    ),
    Mending(
        "`cache_control` of the request", {"cache_control": CACHE}, ("cache_control",)
    ),
    Mending(
        "`anyOf`, `oneOf`, `allOf` at the root of a tool's schema",
        {"tools": [{"name": "look", "input_schema": {"anyOf": [OBJECT]}}]},
        ("tools[0].input_schema",),
        {
            "tools": [
                {
                    "name": "look",
                    "input_schema": {**OBJECT, "properties": {}},
                    "description": "The arguments satisfy this JSON Schema: "
                    '{"anyOf":[{"type":"object"}]}',
                }
            ]
        },
    ),
    *(
        Mending(
            "a tool's schema without `type`, or with other types besides `object`",
            {"tools": [{"name": "look", "input_schema": schema}]},
            ("tools[0].input_schema",),
            {"tools": TOOLS},
        )
        for schema in ({}, {"type": ["object", "null"]})
    ),
    Mending(
        "words of an older draft in a schema (4, 6, 7, 2019-09): a list of `items`, "
        '`exclusiveMinimum: true`, `required: true`, `$id: "#a"`, `$recursiveRef`',
        {"tools": [{"name": "look", "input_schema": OLDER}]},
        ("tools[0].input_schema",),
        {"tools": [{"name": "look", "input_schema": NEWER}]},
    ),
    Mending(
        "an image or a PDF with another `media_type` than its bytes",
        {"messages": [user(image("image/jpeg", png()))]},
        ("messages[0].content[0].source.media_type",),
        {"messages": [user(image("image/png", png()))]},
    ),
    Mending(
        "base64 of an image or a PDF with white space, without padding, in the "
        "alphabet for URLs, or as a data URL",
        {"messages": [user(image("image/png", f"data:image/png;base64,{png()}"))]},
        ("messages[0].content[0].source.data",),
        {"messages": [user(image("image/png", png()))]},
    ),
    Mending(
        "calls in the conversation, and no tools",
        {"messages": loop(call(), result())["messages"]},
        ("tools",),
        {
            **loop(call(), result()),
            "tools": [
                {
                    "name": "earlier_tool",
                    "description": "Stands for the tools of earlier calls, which are "
                    "no longer available.",
                    "input_schema": {"type": "object"},
                }
            ],
            "tool_choice": {"type": "none"},
        },
    ),
    Mending(
        "a `system` message for a model that takes none",
        {"messages": [HI, SAID, system("Be brief."), HI]},
        ("messages[2].role",),
        {"messages": [HI, SAID, {"role": "user", "content": "Be brief."}, HI]},
        SONNET_5,
    ),
    Mending(
        "a `system` message before a user message",
        {"messages": [HI, SAID, system("Be brief."), HI]},
        ("messages[2]",),
        {"messages": [HI, SAID, HI, system("Be brief.")]},
    ),
    Mending(
        "`system` messages at the beginning",
        {"messages": [system("Be brief."), HI]},
        ("messages[0]",),
        {"system": "Be brief.", "messages": [HI]},
    ),
    Mending(
        "a prefill that ends in white space",
        {"messages": [HI, assistant(text("So it "))]},
        ("messages[1].content[0]",),
        {"messages": [HI, assistant(text("So it"))]},
        SONNET_4_5,
    ),
    Mending(
        "`max_tokens` over the model's maximum",
        {"max_tokens": 70_000},
        ("max_tokens",),
        {"max_tokens": 64_000},
        SONNET_4_5,
    ),
    Mending(
        "`thinking` that the model does not have",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
        ("thinking",),
        {"thinking": {"type": "adaptive"}, "max_tokens": 4000},
    ),
    Mending(
        "`thinking` without room for it in `max_tokens`",
        {"thinking": {"type": "enabled", "budget_tokens": 5000}, "max_tokens": 3000},
        ("thinking.budget_tokens",),
        {"thinking": {"type": "enabled", "budget_tokens": 2999}, "max_tokens": 3000},
        SONNET_4_5,
    ),
    Mending(
        "`thinking` without room for it in `max_tokens`",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 500},
        ("thinking",),
        {"thinking": {"type": "disabled"}, "max_tokens": 500},
        SONNET_4_5,
    ),
    Mending(
        "an effort that `thinking` does not allow",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        ("output_config.effort",),
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        "claude-opus-5",
    ),
    Mending(
        "a newer web search than the model has",
        {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
        ("tools[0].type",),
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        SONNET_4_5,
    ),
    Mending(
        "a keyword that `output_config.format` does not take",
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {
                        **OBJECT,
                        "properties": {"a": {"type": "array", "maxItems": 9}},
                    },
                }
            }
        },
        ("output_config.format.schema",),
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {
                        **OBJECT,
                        "properties": {"a": {"type": "array"}},
                        "additionalProperties": False,
                    },
                }
            }
        },
    ),
    Mending(
        "`stop_sequences` of white space",
        {"stop_sequences": ["\n\n", "x"]},
        ("stop_sequences",),
        {"stop_sequences": ["x"]},
    ),
    Mending(
        "`temperature`, `top_p`, `top_k`",
        {"temperature": 0.5, "top_k": 3},
        ("temperature", "top_k"),
        {"temperature": None, "top_k": None},
    ),
    Mending(
        "`metadata`, `betas`, `anthropic_version`, `diagnostics`, `tags`",
        {"metadata": {"user_id": "me"}, "betas": ["x"], "tags": ["a"]},
        ("metadata", "betas", "tags"),
        {"metadata": None, "betas": None, "tags": None},
    ),
    Mending(
        "a field whose beta the CLI does not ask for",
        {"speed": "fast"},
        ("speed",),
        {"speed": None},
    ),
]


@ensureDeferred
async def test_mended_and_named(proxy: Start, upstream: Upstream) -> None:
    server = proxy(model_map=MODEL_MAP)
    upstream.script(fitting_reply)
    problems = {}
    for number, mending in enumerate(MENDINGS):
        if found := await differing(server, upstream, mending):
            problems[number, mending.kind] = found
    assert problems == {}


async def differing(
    server: RunningProxy, upstream: Upstream, mending: Mending
) -> list[str]:
    """What goes up, or is named, otherwise than it should be."""
    upstream.bodies.clear()
    plain = {"model": mending.model, "max_tokens": 99, "messages": [HI]}
    sent = json.dumps({**plain, **mending.sent}, separators=(",", ":"))
    sent = sent.replace(AGAIN, "")
    response = await server.post("/v1/messages", sent.encode())
    answer = await response.text()
    if response.code != 200:
        return [str(answer)]
    [body] = upstream.bodies
    wanted = {**plain, **mending.sent, **mending.wanted}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = differences(wanted, body)
    told = sorted(named(response.headers) or ())
    return found if told == sorted(mending.named) else [*found, f"named: {told}"]


def test_the_list_in_the_docs_is_the_one_that_is_tested() -> None:
    told = [kind for kind, _ in rows(DOCS / "upstream.md", "mendings")]
    assert told == list(dict.fromkeys(mending.kind for mending in MENDINGS))
