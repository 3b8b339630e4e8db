"""``--repair-histories``: calls and results that a client's cut has separated."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.errors import InvalidRequest
from tests.support.composed import OPUS, composed

JSON: TypeAlias = dict[str, Any]
Turns: TypeAlias = list[tuple[str, Any]]

# What a history consists of: `c1` is a call, `r1` its result; the rest are texts.
ASKED, SAID = "asked", "said"
NO_RESULT = "There is no result: the call was interrupted, or its result was removed."
NO_CALL = "The result of a tool call that was removed from the conversation:"


def chat(history: Sequence[str]) -> tuple[str, list[JSON]]:
    return "messages", [_chat(each) for each in history]


def _chat(each: str) -> JSON:
    if each == ASKED:
        return {"role": "user", "content": "asked"}
    if each == SAID:
        return {"role": "assistant", "content": "said"}
    if each.startswith("c"):
        function = {"name": "f", "arguments": "{}"}
        call = {"id": each[1:], "type": "function", "function": function}
        return {"role": "assistant", "tool_calls": [call]}
    return {"role": "tool", "tool_call_id": each[1:], "content": "seen"}


def responses(history: Sequence[str]) -> tuple[str, list[JSON]]:
    return "input", [_item(each) for each in history]


def _item(each: str) -> JSON:
    if each in (ASKED, SAID):
        return _chat(each)
    if each.startswith("c"):
        about = {"call_id": each[1:], "name": "f", "arguments": "{}"}
        return {"type": "function_call", **about}
    return {"type": "function_call_output", "call_id": each[1:], "output": "seen"}


def messages(history: Sequence[str]) -> tuple[str, list[JSON]]:
    return "messages", [_message(each) for each in history]


def _message(each: str) -> JSON:
    if each in (ASKED, SAID):
        return _chat(each)
    if each.startswith("c"):
        call = {"type": "tool_use", "id": each[1:], "name": "f", "input": {}}
        return {"role": "assistant", "content": [call]}
    result = {"type": "tool_result", "tool_use_id": each[1:], "content": "seen"}
    return {"role": "user", "content": [result]}


Make: TypeAlias = Callable[[Sequence[str]], tuple[str, list[JSON]]]
APIS = pytest.mark.parametrize("make", [chat, responses, messages])


def sent(
    make: Make, history: Sequence[str], *, repairs: bool
) -> tuple[Turns, set[str]]:
    """The turns that are sent, in short words, and the paths that are named."""
    name, given_messages = make(history)
    body = json.dumps({"model": "m", "max_tokens": 9, name: given_messages}).encode()
    if make is responses:
        call = decode_responses(json.dumps({"input": given_messages}).encode())
        made: Any = request_of(call, context_of(call, (), {}), None, repairs=repairs)
    else:
        decode: Any = decode_chat if make is chat else decode_messages
        made = partial(decode, repairs=repairs)(body)
    found = composed(made.request, OPUS)
    turns = [
        (turn["role"], [_short(block) for block in _blocks(turn["content"])])
        for turn in json.loads(found.body.json)["messages"]
    ]
    return turns, {*made.adjusted, *found.adjusted}


def _blocks(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _short(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "tool_use", "id": name}:
            return f"c{name}"
        case {"type": "tool_result", "tool_use_id": name, "content": content}:
            return f"r{name}{'!' if content == NO_RESULT else ''}"
        case {"text": text}:
            return "lost:" if text == NO_CALL else str(text)
    raise AssertionError(block)


CUTS: Mapping[str, tuple[Sequence[str], Sequence[int], Turns]] = {
    "call-without-result": (
        [ASKED, "c1", ASKED],
        [1],
        [("user", ["asked"]), ("assistant", ["c1"]), ("user", ["r1!", "asked"])],
    ),
    "call-at-the-end": (
        [ASKED, "c1"],
        [1],
        [("user", ["asked"]), ("assistant", ["c1"]), ("user", ["r1!"])],
    ),
    "one-of-two-results": (
        [ASKED, "c1", "r1", "c2", ASKED],
        [3],
        [
            ("user", ["asked"]),
            ("assistant", ["c1"]),
            ("user", ["r1"]),
            ("assistant", ["c2"]),
            ("user", ["r2!", "asked"]),
        ],
    ),
    "result-without-call": (
        [ASKED, SAID, "r1"],
        [2],
        [("user", ["asked"]), ("assistant", ["said"]), ("user", ["lost:", "seen"])],
    ),
    "second-result": (
        [ASKED, "c1", "r1", "r1"],
        [3],
        [("user", ["asked"]), ("assistant", ["c1"]), ("user", ["r1", "lost:", "seen"])],
    ),
    "another-result": (
        [ASKED, "c1", "r2"],
        [1, 2],
        [
            ("user", ["asked"]),
            ("assistant", ["c1"]),
            ("user", ["r1!", "lost:", "seen"]),
        ],
    ),
}


@APIS
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_history_is_mended_and_named(make: Make, name: str) -> None:
    history, mended, expected = CUTS[name]
    turns, named = sent(make, history, repairs=True)
    assert _joined(turns) == expected
    field, _ = make(history)
    assert {_index(path) for path in named if path.startswith(field)} == {*mended}


@APIS
@pytest.mark.parametrize("name", CUTS)
def test_without_the_option_the_error_says_where_and_what_helps(
    make: Make, name: str
) -> None:
    history, mended, _ = CUTS[name]
    with pytest.raises(InvalidRequest, match=r"send|remove") as caught:
        sent(make, history, repairs=False)
    assert _index(caught.value.param or "") in mended
    assert "--repair-histories" in str(caught.value)


def _index(path: str) -> int:
    return int(path.partition("[")[2].partition("]")[0])


def _joined(turns: Turns) -> Turns:
    """Turns of one role in a row as one turn, which is what the provider makes."""
    joined: Turns = []
    for role, blocks in turns:
        if joined and joined[-1][0] == role:
            joined[-1][1].extend(blocks)
        else:
            joined.append((role, [*blocks]))
    return joined


@given(
    st.sampled_from([chat, responses, messages]),
    st.lists(st.sampled_from([ASKED, SAID, "c1", "c2", "r1", "r2"]), max_size=8),
)
def test_any_history_is_mended(make: Make, history: list[str]) -> None:
    """Each call has its result right behind it; no text is lost, and none is made."""
    history = [ASKED, *history, ASKED]
    turns = _joined(sent(make, history, repairs=True)[0])
    for (_, blocks), (_, answers) in pairwise(turns):
        calls = [block[1:] for block in blocks if block.startswith("c")]
        results = [block.rstrip("!")[1:] for block in answers if block.startswith("r")]
        assert sorted(calls) == sorted(results)
    told = [block for _, blocks in turns for block in blocks]
    assert told.count("asked") == history.count(ASKED)
    assert told.count("said") == history.count(SAID)
    is_call = [block.startswith("c") for block in told]
    assert sum(is_call) == sum(each.startswith("c") for each in history)
    seen = [block == "seen" or (block[0] == "r" and block[-1] != "!") for block in told]
    assert sum(seen) == sum(each.startswith("r") for each in history)


@APIS
def test_a_whole_history_stays_as_it_is(make: Make) -> None:
    history = [ASKED, "c1", "r1", SAID, ASKED, "c2", "r2", ASKED]
    assert sent(make, history, repairs=True) == sent(make, history, repairs=False)


def test_a_loose_result_of_another_shape_is_the_client_s_error() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": 5}
    body = {"messages": [{"role": "user", "content": [result]}]}
    with pytest.raises(InvalidRequest) as caught:
        decode_messages(json.dumps(body).encode(), repairs=True)
    assert caught.value.param == "messages[0].content[0].content"
