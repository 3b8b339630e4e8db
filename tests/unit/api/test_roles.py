"""Where messages of each role go, in all APIs alike, by what the model takes."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest
from attrs import frozen

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.errors import InvalidRequest
from tests.support.composed import HAIKU_4_5, OPUS, SONNET_5, composed

Told: TypeAlias = tuple[str, Sequence[tuple[str, str]], Sequence[str]]


@frozen
class Api:
    """An API, with the name of its list of messages."""

    name: str
    decode: Callable[[bytes], tuple[Any, Sequence[str]]]


def _chat(body: bytes) -> tuple[Any, Sequence[str]]:
    call = decode_chat(body)
    return call.request, (*call.ignored, *call.adjusted)


def _responses(body: bytes) -> tuple[Any, Sequence[str]]:
    call = decode_responses(body)
    made = request_of(call, context_of(call, (), {}), None)
    return made.request, (*made.ignored, *made.adjusted)


def _messages(body: bytes) -> tuple[Any, Sequence[str]]:
    call = decode_messages(body)
    return call.request, (*call.ignored, *call.adjusted)


CHAT, RESPONSES = Api("messages", _chat), Api("input", _responses)
MESSAGES = Api("messages", _messages)
APIS = pytest.mark.parametrize(
    "api", [CHAT, RESPONSES, MESSAGES], ids=["chat", "responses", "messages"]
)
MODELS = pytest.mark.parametrize("model_id", [OPUS, SONNET_5, HAIKU_4_5])


def sent(api: Api, model_id: str, *turns: Mapping[str, Any]) -> Told:
    """System prompt, turns and named paths; the list is called ``m`` in all APIs."""
    body = {"model": "m", api.name: turns}
    request, named = api.decode(json.dumps(body).encode())
    found = composed(request, model_id)
    told = [
        (turn["role"], _text(turn["content"]))
        for turn in json.loads(found.body.json)["messages"]
    ]
    paths = (*named, *found.ignored, *found.adjusted)
    return found.body.system, told, [path.replace(api.name, "m") for path in paths]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content)


def turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


SYSTEM, USER = turn("system", "s"), turn("user", "u")
ASSISTANT = turn("assistant", "a")


@APIS
@MODELS
def test_a_system_message_alone_is_the_question(api: Api, model_id: str) -> None:
    system, told, named = sent(api, model_id, SYSTEM)
    assert (system, told) == ("", [("user", "s")])
    assert [path.removesuffix(".role") for path in named] == ["m[0]"]


@APIS
@MODELS
def test_a_system_message_at_the_end(api: Api, model_id: str) -> None:
    takes = model_id == OPUS
    expected = "system" if takes else "user"
    assert sent(api, model_id, USER, SYSTEM) == (
        "",
        [("user", "u"), (expected, "s")],
        [] if takes else ["m[1].role"],
    )


@APIS
@MODELS
@pytest.mark.parametrize("before", [[], [USER]], ids=["greeting", "dialogue"])
def test_a_system_message_after_the_assistant_s_is_the_user_s(
    api: Api, model_id: str, before: list[dict[str, Any]]
) -> None:
    number = len(before) + 1
    assert sent(api, model_id, *before, ASSISTANT, SYSTEM) == (
        "",
        [*[("user", "u") for _ in before], ("assistant", "a"), ("user", "s")],
        [f"m[{number}].role"],
    )


@APIS
@MODELS
def test_a_system_message_in_front_of_the_user_s(api: Api, model_id: str) -> None:
    """The provider takes it after the user's message only."""
    asked = sent(api, model_id, USER, ASSISTANT, SYSTEM, turn("user", "v"))
    moved = [("user", "v"), ("system", "s")]
    stays = [("user", "s"), ("user", "v")]
    assert asked == (
        "",
        [("user", "u"), ("assistant", "a"), *(moved if model_id == OPUS else stays)],
        ["m[2]"] if model_id == OPUS else ["m[2].role"],
    )


@APIS
@pytest.mark.parametrize("model_id", [OPUS, SONNET_5])
@pytest.mark.parametrize("before", [[], [USER], [SYSTEM]])
def test_an_assistant_s_message_last_is_refused_in_clear_words(
    api: Api, model_id: str, before: list[dict[str, Any]]
) -> None:
    with pytest.raises(InvalidRequest, match="does not continue one") as caught:
        sent(api, model_id, *before, ASSISTANT)
    assert caught.value.param == f"{api.name}[{len(before)}].role"


@APIS
def test_an_assistant_s_message_last_is_continued_by_models_that_take_it(
    api: Api,
) -> None:
    prefill = turn("assistant", "a ")
    assert sent(api, HAIKU_4_5, USER, prefill) == (
        "",
        [("user", "u"), ("assistant", "a")],
        ["m[1].content"],
    )


@APIS
def test_the_parts_of_a_system_prompt_are_joined_by_an_empty_line(api: Api) -> None:
    kind = "input_text" if api is RESPONSES else "text"
    parts = [{"type": kind, "text": text} for text in ("s", " ", "t")]
    told = sent(api, OPUS, {"role": "system", "content": parts}, USER)
    assert told[:2] == ("s\n\nt", [("user", "u")])
    # In the Messages API it is the message that is moved.
    content = "m[0]" if api is MESSAGES else "m[0].content"
    assert set(told[2]) == {"m[0].content[1]", content}


@APIS
@pytest.mark.parametrize("model_id", [OPUS])
def test_the_parts_of_a_later_system_message_stay_apart(
    api: Api, model_id: str
) -> None:
    kind = "input_text" if api is RESPONSES else "text"
    parts = [{"type": kind, "text": text} for text in ("s", "t")]
    body = {"model": "m", api.name: [USER, {"role": "system", "content": parts}]}
    request, named = api.decode(json.dumps(body).encode())
    found = composed(request, model_id)
    *_, last = json.loads(found.body.json)["messages"]
    assert [block["text"] for block in last["content"]] == ["s", "t"]
    assert (*named, *found.ignored, *found.adjusted) == ()


def test_the_blocks_of_a_system_prompt_are_joined_and_named() -> None:
    blocks = [{"type": "text", "text": text} for text in ("s", "t")]
    for system, named in ((blocks, ("system",)), (blocks[:1], ()), ("s", ())):
        body = {"model": "m", "system": system, "messages": [USER]}
        call = decode_messages(json.dumps(body).encode())
        assert call.request.system == ("s\n\nt" if named else "s")
        assert (call.adjusted, call.ignored) == (named, ())


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_the_name_of_a_participant_is_named(role: str) -> None:
    named = {**turn(role, "x"), "name": "ann"}
    assert "m[1].name" in sent(CHAT, OPUS, USER, named, USER)[2]
    assert "m[1].name" in sent(RESPONSES, OPUS, USER, named, USER)[2]
