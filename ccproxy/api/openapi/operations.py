"""Every route, as ``GET /openapi.json`` and docs/api.md tell of it. Pure.

Who adds a route adds it here: tests compare the table with the router and the page.
"""

from ccproxy.api.openapi.responses import CONVERSATIONS, RESPONSES
from ccproxy.api.openapi.schemas import reference
from ccproxy.api.openapi.terms import (
    ALWAYS,
    EVENTS,
    JSON,
    KEYLESS,
    MODEL,
    PLAIN,
    SENT,
    Dialect,
    Operation,
    ResponseSpec,
    json_answer,
    json_or_events,
    parameter,
)
from ccproxy.core.errors import (
    ModelNotFound,
    NotFound,
    NotSupported,
    StorageFailed,
    ThreadsUnsupported,
)

_VERSION = parameter(
    "anthropic-version",
    "With it, answers and errors are Anthropic's, here and everywhere.",
    {"type": "string"},
    "header",
)
_PAGE = (
    parameter("after_id", "With it: behind this one.", {"type": "string"}),
    parameter("before_id", "With it: in front of this one.", {"type": "string"}),
    parameter("limit", "With it: how many, from 1 to 1000.", {"type": "string"}),
)


def _either(one: str, other: str) -> ResponseSpec:
    schema = {"anyOf": [reference(one), reference(other)]}
    return ResponseSpec(200, "Done, in the words of whoever asks.", {JSON: schema})


def _dashboard(part: str, kind: str, summary: str) -> Operation:
    return Operation(
        method="GET",
        path=f"/dashboard{part}",
        name="dashboard" + part.removeprefix("/").partition(".")[0].capitalize(),
        tag="server",
        summary=summary,
        answers=(ResponseSpec(200, "The file.", {kind: {"type": "string"}}),),
        errors=KEYLESS,
        needs_key=False,
    )


_SERVER = (
    Operation(
        method="GET",
        path="/health",
        name="health",
        tag="server",
        summary="`ok`: the server runs; without a key",
        answers=(ResponseSpec(200, "It runs.", {PLAIN: {"const": "ok"}}),),
        errors=KEYLESS,
        needs_key=False,
    ),
    Operation(
        method="GET",
        path="/ready",
        name="ready",
        tag="server",
        summary="whether the CLI answers, and who is logged in; 503 if not",
        answers=(
            json_answer("StatusDocument", "Ready."),
            json_answer("StatusDocument", "Not ready.", 503),
        ),
        errors=ALWAYS,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="metrics",
        tag="server",
        summary="for Prometheus; with the key, unless the operator has opened it",
        answers=(ResponseSpec(200, "The metrics.", {PLAIN: {"type": "string"}}),),
        errors=ALWAYS,
        needs_key=False,
    ),
    Operation(
        method="GET",
        path="/usage",
        name="usage",
        tag="server",
        summary="tokens and cost by day, model, key and client",
        query=(
            parameter(
                "days",
                "How many, today included.",
                {"type": "integer", "minimum": 1, "maximum": 10_000},
            ),
        ),
        answers=(json_answer("UsageDocument"),),
        errors=(*ALWAYS, StorageFailed),
    ),
    _dashboard("", "text/html", "a page that shows what goes on; without a key"),
    _dashboard("/app.js", "text/javascript", "its script"),
    _dashboard("/style.css", "text/css", "its style"),
    _dashboard("/icon.svg", "image/svg+xml", "its icon"),
    Operation(
        method="GET",
        path="/dashboard/events",
        name="dashboardEvents",
        tag="server",
        summary="what it shows, as it happens; no word of a prompt or an answer",
        more="Has no end. The events are `hello`, `now` and `ended`.",
        answers=(ResponseSpec(200, "The events.", {EVENTS: {}}),),
        errors=ALWAYS,
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        tag="server",
        summary="this, in OpenAPI 3.1",
        answers=(ResponseSpec(200, "This document.", {JSON: {"type": "object"}}),),
        errors=ALWAYS,
    ),
    Operation(
        method="GET",
        path="/models",
        name="listModels",
        tag="models",
        summary="the models",
        query=(_VERSION, *_PAGE),
        answers=(_either("ModelList", "ModelPage"),),
        dialects=tuple(Dialect),
        errors=ALWAYS,
    ),
    Operation(
        method="GET",
        path="/models/{name}",
        name="getModel",
        tag="models",
        summary="one, by any name that would be answered",
        more="Slashes within the name need not be encoded.",
        query=(_VERSION,),
        answers=(_either("Model", "AnthropicModel"),),
        dialects=tuple(Dialect),
        # A name with a line break in it is no path.
        errors=(*ALWAYS, ModelNotFound, NotFound),
    ),
)

_CHAT = (
    Operation(
        method="POST",
        path="/chat/completions",
        name="createChatCompletion",
        tag="chat",
        summary="ask; streamed or not",
        more=(
            "A stream's events are `data: ` and a `Chunk` each, the last one is "
            "`data: [DONE]`; comments come where nothing else does. One that fails "
            "ends with `data: ` and an `Error` instead."
        ),
        body="ChatRequest",
        answers=(
            json_or_events(
                "ChatCompletion", "an event for each chunk.", "ChatCompletionChunk"
            ),
        ),
        errors=MODEL,
    ),
)


_MESSAGES = (
    Operation(
        method="POST",
        path="/messages",
        name="createMessage",
        tag="messages",
        summary="ask, as Anthropic's clients do; streamed or not",
        more="A stream has Anthropic's events. One that fails ends with `error`.",
        body="CreateMessageRequest",
        answers=(json_or_events("MessageObject", "every event of it."),),
        errors=(*MODEL, ThreadsUnsupported),
        dialects=(Dialect.ANTHROPIC,),
    ),
    Operation(
        method="POST",
        path="/messages/count_tokens",
        name="countTokens",
        tag="messages",
        summary="501: the CLI does not tell them",
        answers=(),
        errors=(*SENT, NotSupported),
        dialects=(Dialect.ANTHROPIC,),
    ),
)

OPERATIONS = (*_SERVER, *_CHAT, *_MESSAGES, *RESPONSES, *CONVERSATIONS)
