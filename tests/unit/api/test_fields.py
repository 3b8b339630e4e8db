"""Each documented field of a request is carried, named or refused: no fourth thing.

The fields are those of the OpenAPI documents in ``tests/spec``, at every depth. So a
field that a newer document adds fails here until its fate is decided.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
from attrs import evolve, frozen

from ccproxy.api.chat.request import ChatRequest
from ccproxy.api.common.fates import Fate
from ccproxy.api.responses.input.fields import ResponsesRequest
from tests.support.documented_fields import (
    DocumentedField,
    Walk,
    anthropic_schemas,
    document,
)
from tests.support.fates import (
    ENCRYPTOR,
    Body,
    Make,
    Outcome,
    chat,
    declaration,
    fate,
    messages,
    responses,
)

pytestmark = pytest.mark.exhaustive

_PNG = b"\x89PNG\r\n\x1a\n"
_ASKED = {"role": "user", "content": "hi"}
_LOOK = {"name": "look"}


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _object(name: str) -> dict[str, Any]:
    """A schema that the provider can hold the model to."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"}},
        "required": [name],
        "additionalProperties": False,
    }


_IMAGES = [_data("image/png", _PNG + end) for end in (b"a", b"b")]
_FILES = [_data("application/pdf", b"%PDF-1.4 " + end) for end in (b"a", b"b")]
_SEALED = ENCRYPTOR.encrypt({"summary": "zqsummary"})
_SAMPLES: Mapping[str, Any] = {
    "arguments": ['{"q": "zqarguments"}'],
    "parameters": [_object("zqparameters")],
    "schema": [_object("zqschema")],
    "n": [2],
    "modalities": [["text", "audio"]],
    "image_url": _IMAGES,
    "image_url.url": _IMAGES,
    "file_data": _FILES,
    "file_url": ["https://files.example/zqfile.pdf"],
    "tool_choice.name": ["look", "cut"],
    "tool_choice.function.name": ["look", "cut"],
    "tool_choice.custom.name": ["look", "cut"],
    "function_call.name": ["look", "cut"],
    "call_id": ["zqcall"],
    "include": [["reasoning.encrypted_content"], ["file_search_call.results"]],
}
_IN_CHAT = {
    **_SAMPLES,
    "allowed_tools.tools[0]": [{"type": "function", "function": _LOOK}],
}
_IN_RESPONSES = {
    **_SAMPLES,
    "tools[0]": [{"type": "function", **_LOOK}],
    "tool_choice.tools[0]": [{"type": "function", **_LOOK}],
}
_COMPANIONS: Mapping[str, Mapping[str, Any]] = {
    "content[0].file": {"file_data": _FILES[0]},
    "response_format.json_schema": {"schema": _object("a")},
    "json_schema": {"schema": _object("a")},
    "input_image": {"image_url": _IMAGES[0]},
    "input_file": {"file_data": _FILES[0]},
    "function_call_output": {"call_id": "zqcall"},
    "compaction": {"encrypted_content": _SEALED},
}


def chat_body(name: str, value: Any) -> tuple[Body, int]:
    """A chat completion with a top-level field, and the index of its first message."""
    body: Body = {"model": "sonnet", "messages": [_ASKED]}
    if value is None:
        return body, 0
    body[name] = value
    match name, value:
        case "tool_choice" | "parallel_tool_calls", _:
            body["tools"] = [
                {"type": "function", "function": _LOOK},
                {"type": "custom", "custom": {"name": "cut"}},
            ]
        case "function_call", _:
            body["functions"] = [_LOOK, {"name": "cut"}]
        case "messages", [message]:
            before, behind = _around_message(message)
            body[name] = [*before, message, *behind]
            return body, len(before)
    return body, 0


def _around_message(message: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The messages that a message needs."""
    called = {"arguments": "{}", **_LOOK}
    match message:
        case {"role": "assistant", "function_call": {"name": name}}:
            result = {"role": "function", "name": name, "content": "seen"}
            return [_ASKED], [result, _ASKED]
        case {"role": "assistant"}:
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": "seen"}
                for call in message.get("tool_calls", ())
            ]
            return [_ASKED], [*results, _ASKED]
        case {"role": "tool", "tool_call_id": identifier}:
            call = {"id": identifier, "type": "function", "function": called}
            return [_ASKED, {"role": "assistant", "tool_calls": [call]}], []
        case {"role": "function"}:
            return [_ASKED, {"role": "assistant", "function_call": called}], []
    return [], [_ASKED]


def responses_body(name: str, value: Any) -> tuple[Body, int]:
    """A request of Responses with a field, and the index of its first item."""
    body: Body = {"model": "sonnet", "input": [_ASKED]}
    if value is None:
        return body, 0
    body[name] = value
    match name, value:
        case "tool_choice" | "parallel_tool_calls", _:
            body["tools"] = [{"type": "function", **_LOOK}]
            body["tools"].append({"type": "custom", "name": "cut"})
        case "previous_response_id" | "conversation", _:
            pass
        case "input", [dict() as item]:
            before, behind = _around_item(item)
            body[name] = [*before, item, *behind]
            return body, len(before)
    return body, 0


_OUTPUTS = {
    "function_call": "seen",
    "custom_tool_call": "seen",
    "local_shell_call": "seen",
    "shell_call": [],
}


def _around_item(item: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The items that an item needs."""
    kind = item.get("type", "message")
    if kind in _OUTPUTS:
        about = {"call_id": item.get("call_id"), "output": _OUTPUTS[kind]}
        return [_ASKED], [{"type": f"{kind}_output", **about}, _ASKED]
    call = kind.removesuffix("_output")
    if kind != call and call in _OUTPUTS:
        about = {"call_id": item.get("call_id", item.get("id")), **_LOOK}
        return [_ASKED, {"type": call, "action": {}, **about}], []
    return [_ASKED], [_ASKED]


_MISPLACED = re.compile("user tool_use|assistant tool_result")


def messages_body(name: str, value: Any) -> tuple[Body, int]:
    """A request of Messages with a field, and the index of its first message."""
    body: Body = {"model": "sonnet", "max_tokens": 2000, "messages": [_ASKED]}
    if value is None:
        return body, 0
    body[name] = value
    match name, value:
        case "tool_choice", _:
            names = ("look", "cut")
            body["tools"] = [{"name": n, "input_schema": _object("a")} for n in names]
        case "messages", [message]:
            before, behind = _around_turn(message)
            body[name] = [*before, message, *behind]
            return body, len(before)
    return body, 0


def _around_turn(message: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The messages that a message of the Messages API needs."""
    match message:
        case {"content": [{"type": "tool_use", "id": identifier}]}:
            result = {"type": "tool_result", "tool_use_id": identifier}
            return [_ASKED], [{"role": "user", "content": [result]}]
        case {"content": [{"type": "tool_result", "tool_use_id": identifier}]}:
            call = {"type": "tool_use", "id": identifier, "input": {}, **_LOOK}
            return [_ASKED, {"role": "assistant", "content": [call]}], []
        case {"role": "system"}:
            return [_ASKED], []
    return [_ASKED], [_ASKED]


@frozen
class Api:
    """An API in a document.

    Attributes:
        struct: declares the fates; None: unknown fields go up.
    """

    spec: str
    component: str
    struct: type[msgspec.Struct] | None
    make: Make
    send: Callable[[Body], Outcome]
    samples: Mapping[str, Any]

    def fields(self) -> list[DocumentedField]:
        """The document's fields."""
        if self.spec == "anthropic":
            schemas = anthropic_schemas()
        else:
            schemas = document(self.spec)["components"]["schemas"]
        found = Walk(schemas, self.samples, _COMPANIONS).fields(self.component)
        # In the types of the Messages API, all roles have all blocks.
        return [each for each in found if not _MISPLACED.search(each.kind)]


def _responses(spec: str, component: str) -> Api:
    about = (ResponsesRequest, responses_body, responses, _IN_RESPONSES)
    return Api(spec, component, *about)


APIS = (
    Api(
        "openai",
        "CreateChatCompletionRequest",
        ChatRequest,
        chat_body,
        chat,
        _IN_CHAT,
    ),
    _responses("openai", "CreateResponse"),
    _responses("openresponses", "CreateResponseBody"),
    Api(
        "anthropic",
        "MessageCreateParamsNonStreaming",
        None,
        messages_body,
        messages,
        {"messages[0].content": ["zqhi"]},
    ),
)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.component)
def test_each_documented_field_has_a_fate(api: Api) -> None:
    api = evolve(api, send=sent_once(api.send))
    fields = api.fields()
    assert len(fields) > 80
    assert [each.name for each in fields if not is_decided(each, api)] == []


def sent_once(send: Callable[[Body], Outcome]) -> Callable[[Body], Outcome]:
    """Send equal bodies once: fields beside one another share some."""

    @cache
    def sent(text: str) -> Outcome:
        return send(json.loads(text))

    return lambda body: sent(json.dumps(body))


def is_decided(field: DocumentedField, api: Api) -> bool:
    """Whether a field has a fate, which is declared if the field has no effect."""
    found = fate(field, api.make, api.send)
    if api.struct is not None and found.fate == "named" and not found.by.endswith("]"):
        # Unknown fields are named, too. What a document has is not unknown.
        return declaration(found.by, api.struct) is not None
    if found.fate:
        return True
    # These fields leave no trace in what goes up.
    told = declaration(field.path, api.struct)
    return told is not None and told.fate.fate in (Fate.KEPT, Fate.GRANTED)


def test_a_new_field_of_a_document_is_undecided() -> None:
    schemas = {"New": {"properties": {"model": {}, "new": {"type": "string"}}}}
    [known, new] = Walk(schemas, {}, {}).fields("New")
    assert is_decided(known, APIS[0])
    assert not is_decided(new, APIS[0])
