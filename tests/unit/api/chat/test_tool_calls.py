"""Tool calls and thinking of chat completions, in requests and answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.chat.request import DecodedChatRequest, decode_chat
from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.common.custom_tools import CustomInputDecoder, free_text
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable
from ccproxy.core.blocks import (
    Text,
    ToolResult,
    ToolUse,
    text_block,
    tool_result_block,
    tool_use_block,
)
from ccproxy.core.encoding import sse_frames
from ccproxy.core.errors import ClientError
from ccproxy.core.messages import Message, ToolChoice
from ccproxy.core.stream import (
    Event,
    Finished,
    InputJSONDelta,
    MessageStart,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from tests.support.events import call_start, in_blocks, redacted_start
from tests.support.requests import told_content, told_messages, told_tools
from tests.support.spec import chunk_errors, document_errors

USER = {"role": "user", "content": "hello"}
STARTED = MessageStart("m-1")
CALLED = Finished("tool_use")
FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}


def decoded(*messages: dict[str, Any], **fields: Any) -> DecodedChatRequest:
    return decode_chat(json.dumps({"messages": [USER, *messages], **fields}).encode())


def told(forms: ToolCallFormat, *events: Event) -> tuple[dict[str, Any], list[Any]]:
    """The message of the document, and the deltas of the stream; both valid."""
    meta = CompletionMeta(id="chatcmpl-1", created=1)
    document = ChatDocument(meta, 1, forms)
    document.receivers[0]([*in_blocks(events)])
    body = json.loads(document.encode())
    assert document_errors(body) == []
    stream = ChatStream(meta, 1, False, forms)
    frames = sse_frames(stream.encoders[0](events)).decode().split("\n\n")
    chunks = [json.loads(f.removeprefix("data: ")) for f in frames if "{" in f]
    assert [error for chunk in chunks for error in chunk_errors(chunk)] == []
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    [choice] = body["choices"]
    assert choices[-1]["finish_reason"] == choice["finish_reason"]
    return choice, [choice["delta"] for choice in choices[1:-1]]


# Old functions


def test_old_functions_are_tools() -> None:
    call = decoded(functions=[FUNCTION])
    assert told_tools(call.request.tools) == [
        {
            "name": "look",
            "description": "Look.",
            "input_schema": {"type": "object"},
        }
    ]
    assert call.request.tool_choice == ToolChoice(
        "auto", disable_parallel_tool_use=True
    )
    assert call.request.tools[0].at == "functions[0]"
    assert call.call_format.is_legacy


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", ToolChoice("auto", disable_parallel_tool_use=True)),
        ("none", ToolChoice("none")),
        ({"name": "look"}, ToolChoice("tool", "look", disable_parallel_tool_use=True)),
    ],
)
def test_old_choice(choice: object, told: ToolChoice) -> None:
    request = decoded(functions=[FUNCTION], function_call=choice).request
    assert [tool.value.name for tool in request.tools] == ["look"]
    assert request.tool_choice == told


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"function_call": {"name": "no"}}, "function_call"),
        ({"function_call": "always"}, "function_call"),
        ({"tools": [{"type": "function", "function": FUNCTION}]}, "functions"),
        ({"functions": [{"name": ""}]}, "functions[0].name"),
        ({"functions": [FUNCTION, FUNCTION]}, "functions[1]"),
    ],
)
def test_old_functions_that_cannot_be(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(**{"functions": [FUNCTION], **fields})
    assert caught.value.param == param


def test_old_call_and_result_are_native_turns() -> None:
    call = {"name": "look", "arguments": '{"at": "sky"}'}
    history: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "look", "content": "blue"},
        {"role": "assistant", "content": "", "function_call": call},
        {"role": "function", "name": "look", "content": "grey"},
    ]
    call_of = decoded(*history)
    use = {"type": "tool_use", "name": "look", "input": {"at": "sky"}}
    result = {"type": "tool_result"}
    assert told_messages(call_of.request.messages[1:]) == [
        ("assistant", [{**use, "id": "function-1"}]),
        ("user", [{**result, "tool_use_id": "function-1", "content": "blue"}]),
        ("assistant", [{**use, "id": "function-2"}]),
        ("user", [{**result, "tool_use_id": "function-2", "content": "grey"}]),
    ]
    # The client has given no ids: none of its own is changed.
    assert call_of.adjusted == ()


def test_old_call_is_told_in_its_own_form() -> None:
    events: list[Event] = [STARTED, TextDelta("Hm."), call_start("t1", "look")]
    pieces = [InputJSONDelta('{"at"'), InputJSONDelta(': "sky"}')]
    choice, deltas = told(ToolCallFormat(is_legacy=True), *events, *pieces, CALLED)
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {
        "name": "look",
        "arguments": '{"at": "sky"}',
    }
    assert "tool_calls" not in choice["message"]
    assert deltas == [
        {"content": "Hm."},
        {"function_call": {"arguments": "", "name": "look"}},
        {"function_call": {"arguments": '{"at"'}},
        {"function_call": {"arguments": ': "sky"}'}},
    ]


# Custom tools


def custom(**fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": "patch", **fields}}


GRAMMAR = {"syntax": "lark", "definition": 'start: "a"+'}


def test_custom_tool_is_offered_with_one_text() -> None:
    form = {"type": "grammar", "grammar": GRAMMAR}
    call = decoded(tools=[custom(description="Patches.", format=form)])
    [tool] = told_tools(call.request.tools)
    assert tool["description"].startswith("Patches.\n\n")
    assert tool["description"].endswith('lark grammar:\n\nstart: "a"+')
    assert tool["input_schema"]["required"] == ["input"]
    assert call.call_format.tools.identity("patch").kind is ToolKind.CUSTOM


def test_custom_call_is_told_as_text() -> None:
    pieces = ['{"inp', 'ut": "a\\', "nb\\u00e", '9"}']
    events: list[Event] = [call_start("t1", "patch"), *map(InputJSONDelta, pieces)]
    patch = ToolIdentity("patch", ToolKind.CUSTOM)
    forms = ToolCallFormat(tools=ToolTable([(patch, "tools[0].custom")]))
    choice, deltas = told(forms, STARTED, *events, CALLED)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "t1", "type": "custom", "custom": {"name": "patch", "input": "a\nbé"}}
    ]
    [first] = deltas[0]["tool_calls"]
    assert first == {
        "index": 0,
        "id": "t1",
        "type": "custom",
        "custom": {"name": "patch", "input": ""},
    }
    texts = [d["tool_calls"][0]["custom"]["input"] for d in deltas[1:]]
    assert texts == ["a", "\nb", "é"]


def test_custom_call_of_the_history() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "a\nb"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "done", "is_error": True}
    messages = decoded(
        {"role": "assistant", "tool_calls": [call]}, result, tools=[custom()]
    ).request.messages
    called, answered = told_messages(messages[1:])
    use = {"type": "tool_use", "id": "c", "name": "patch", "input": {"input": "a\nb"}}
    assert called == ("assistant", [use])
    about = {"tool_use_id": "c", "content": "done", "is_error": True}
    assert answered == ("user", [{"type": "tool_result", **about}])


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "custom"}, "tools[0].custom"),
        (custom(name=""), "tools[0].custom.name"),
        (custom(format={"type": "grammar"}), "tools[0].custom.format.grammar"),
        (custom(format={"type": "xml"}), "tools[0].custom.format.type"),
    ],
)
def test_custom_tool_that_cannot_be(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(tools=[tool])
    assert caught.value.param == param


@given(st.text(), st.booleans(), st.sampled_from([None, 1]), st.data())
def test_free_text_is_the_text_however_it_is_split(
    text: str, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    whole = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    decoder = CustomInputDecoder()
    found = []
    left = whole
    while left:
        size = data.draw(st.integers(1, len(left)))
        found.append(decoder.feed(left[:size]))
        left = left[size:]
    found.append(decoder.end())
    assert "".join(found) == text
    assert free_text(whole) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", ""),
        (" {} ", ""),
        ('{"input": 5}', '{"input": 5}'),
        ('{"other": "a"}', '{"other": "a"}'),
        ('{"other": "a", "input": "b"}', "b"),
        ('{"input": "a", "other": "b"}', "a"),
        ('{"input": "cut o', "cut o"),
        ('{"input": "cut \\ud83', "cut "),
        ('{"input": "half \\ud83d."}', "half \ufffd."),
        ('{"input": "bad \\q"}', "bad \\q"),
        ('["input"]', '["input"]'),
        ('{"inp', '{"inp'),
    ],
)
def test_arguments_of_another_form_are_not_lost(arguments: str, text: str) -> None:
    assert free_text(arguments) == text


@given(st.text(), st.integers(0, 20))
def test_free_text_takes_anything(text: str, place: int) -> None:
    decoder = CustomInputDecoder()
    found = decoder.feed(text[:place]) + decoder.feed(text[place:]) + decoder.end()
    assert free_text(text) == found
    found.encode()


# Thinking

DETAILS = "messages[1].reasoning_details"
THOUGHT: list[Event] = [
    ThinkingDelta("Let me "),
    ThinkingDelta("see."),
    SignatureDelta("c2ln"),
]
TEXT_DETAIL = {
    "type": "reasoning.text",
    "text": "Let me see.",
    "signature": "c2ln",
    "format": "anthropic-claude-v1",
    "index": 0,
    "model": "m-1",
}
SEALED_DETAIL = {
    "type": "reasoning.encrypted",
    "data": "abc",
    "format": "anthropic-claude-v1",
    "index": 1,
    "model": "m-1",
}
END = Finished("end_turn")


def test_thinking_is_told_and_can_be_given_back() -> None:
    events = [STARTED, *THOUGHT, redacted_start("abc"), TextDelta("Fine."), END]
    choice, deltas = told(ToolCallFormat(), *events)
    message = choice["message"]
    assert message["content"] == "Fine."
    assert message["reasoning_content"] == "Let me see."
    assert message["reasoning_details"] == [TEXT_DETAIL, SEALED_DETAIL]
    assert deltas == [
        {"reasoning_content": "Let me "},
        {"reasoning_content": "see."},
        {"reasoning_details": [TEXT_DETAIL]},
        {"reasoning_details": [SEALED_DETAIL]},
        {"content": "Fine."},
    ]
    call = decoded(message, USER)
    assert told_content(call.request.messages[1]) == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "text", "text": "Fine."},
    ]
    assert call.request.thinking_models == {"c2ln": "m-1", "abc": "m-1"}
    assert (call.ignored, call.adjusted) == ((), ())


def test_thinking_comes_back_with_what_stood_before_it() -> None:
    events = [STARTED, *THOUGHT, redacted_start("abc"), TextDelta("Fine."), END]
    meta = CompletionMeta(id="chatcmpl-1", created=1, prefix="p1")
    collected = ChatDocument(meta, 1)
    collected.receivers[0]([*in_blocks(events)])
    message = json.loads(collected.encode())["choices"][0]["message"]
    stream = sse_frames(ChatStream(meta, 1, False).encoders[0](events)).decode()
    assert stream.count('"prefix":"p1"') == len(message["reasoning_details"]) == 2
    call = decoded(message, USER)
    assert call.request.thinking_prefixes == {"c2ln": "p1", "abc": "p1"}


def test_what_stood_before_thinking_is_told_and_comes_back() -> None:
    meta = CompletionMeta(id="c", created=1, prefix="hash")
    document = ChatDocument(meta, 1)
    document.receivers[0]([*in_blocks([STARTED, *THOUGHT, TextDelta("Fine."), END])])
    [choice] = json.loads(document.encode())["choices"]
    [detail] = choice["message"]["reasoning_details"]
    assert detail == {**TEXT_DETAIL, "prefix": "hash"}
    stream = ChatStream(meta, 1, False)
    assert b'"prefix":"hash"' in sse_frames(stream.encoders[0]([STARTED, *THOUGHT]))
    request = decoded(choice["message"], USER).request
    assert request.thinking_prefixes == {"c2ln": "hash"}
    assert decoded(USER).request.thinking_prefixes == {}


def test_without_thinking_there_is_no_word_of_it() -> None:
    choice, deltas = told(ToolCallFormat(), STARTED, TextDelta("Fine."), END)
    assert not [name for name in choice["message"] if "reasoning" in name]
    assert deltas == [{"content": "Fine."}]


def test_void_thinking_is_not_in_the_document() -> None:
    again: list[Event] = [
        Restarted(),
        STARTED,
        ThinkingDelta("Anew."),
        SignatureDelta("bmV3"),
    ]
    choice, _ = told(ToolCallFormat(), STARTED, *THOUGHT, *again, TextDelta("a"), END)
    assert choice["message"]["reasoning_content"] == "Anew."
    [detail] = choice["message"]["reasoning_details"]
    assert detail["signature"] == "bmV3"


def thought(*details: object) -> tuple[list[Any], tuple[str, ...]]:
    """The thinking that goes back, and the entries that are left out."""
    message = {"role": "assistant", "content": "a", "reasoning_details": details}
    call = decoded(message, USER)
    content = told_content(call.request.messages[1])
    blocks = [] if content == "a" else content[:-1]
    return blocks, tuple(p.removeprefix(DETAILS) for p in call.ignored)


def test_pieces_of_one_block_are_one() -> None:
    piece = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    found, left_out = thought(
        {**piece, "text": "Let me "},
        {**piece, "text": "see."},
        {**piece, "signature": "c2ln"},
        {**piece, "index": 1, "text": "unsigned"},
        {**piece, "index": 2, "text": "more", "signature": "bW9y"},
    )
    assert found == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "thinking", "thinking": "more", "signature": "bW9y"},
    ]
    assert left_out == ("[3]",)


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "reasoning.text", "text": "unsigned"},
        {"type": "reasoning.summary", "summary": "short"},
        {"type": "reasoning.encrypted"},
        # Of another provider, whatever it may look like.
        {
            "type": "reasoning.encrypted",
            "data": "gAAAAABexample",
            "format": "openai-responses-v1",
            "index": 0,
        },
        {"type": "reasoning.text", "signature": "s", "format": "google-gemini-v1"},
    ],
)
def test_what_cannot_go_back_is_left_out(detail: dict[str, Any]) -> None:
    assert thought(detail) == ([], ("[0]",))


def test_thinking_that_nothing_followed_is_left_out() -> None:
    message = {"role": "assistant", "content": "", "reasoning_details": [TEXT_DETAIL]}
    call = decoded(message, USER)
    assert [role for role, _ in told_messages(call.request.messages)] == [
        *("user", "user")
    ]
    assert call.ignored == ("messages[1].reasoning_details[0]",)


# Histories, there and back

NAMES = st.sampled_from(["look", "ask"])
WORDS = st.text("abc \n", min_size=1).filter(str.strip)
VALUES = st.dictionaries(
    st.text("ab"), st.integers(-3, 3) | st.text("ab\n"), max_size=2
)


ERRORS = st.lists(st.booleans(), min_size=3, max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    """Messages as the Messages API has them, each call with its result."""
    turns = [Message("user", draw(WORDS))]
    count = 0
    for size in draw(st.lists(st.integers(0, 3), max_size=4)):
        if size == 0:
            turns += [Message("assistant", draw(WORDS)), Message("user", draw(WORDS))]
            continue
        said = (text_block(draw(WORDS)),) if draw(st.booleans()) else ()
        uses = tuple(
            tool_use_block(f"call{count + n}", draw(NAMES), draw(VALUES))
            for n in range(size)
        )
        count += size
        turns.append(Message("assistant", (*said, *uses)))
        results = tuple(
            tool_result_block(
                use.value.id, draw(st.sampled_from(["", "a", "b"])), is_error=error
            )
            for use, error in zip(uses, draw(ERRORS), strict=False)
            if isinstance(use.value, ToolUse)
        )
        asked = (text_block(draw(WORDS)),) if draw(st.booleans()) else ()
        turns.append(Message("user", (*results, *asked)))
    return tuple(turns)


def as_chat(message: Message) -> list[dict[str, Any]]:
    """A turn as a client writes it."""
    text = "".join(b.value.text for b in message.blocks if isinstance(b.value, Text))
    if message.role == "assistant":
        calls = [
            {
                "id": use.id,
                "type": "function",
                "function": {"name": use.name, "arguments": bytes(use.input).decode()},
            }
            for use in (block.value for block in message.blocks)
            if isinstance(use, ToolUse)
        ]
        return [{"role": "assistant", "content": text, "tool_calls": calls}]
    results: list[dict[str, Any]] = [
        {
            "role": "tool",
            "tool_call_id": result.tool_use_id,
            "content": json.loads(bytes(result.content)),
            "is_error": result.is_error or False,
        }
        for result in (block.value for block in message.blocks)
        if isinstance(result, ToolResult) and isinstance(result.content, Raw)
    ]
    return [*results, *([{"role": "user", "content": text}] if text else [])]


@given(histories())
def test_any_history_is_the_same_there_and_back(history: tuple[Message, ...]) -> None:
    messages = [m for turn in history for m in as_chat(turn)]
    call = decode_chat(json.dumps({"messages": messages}).encode())
    assert told_messages(call.request.messages) == told_messages(history)
    assert (call.ignored, call.adjusted) == ((), ())


@given(histories().filter(lambda h: len(h) > 1))
def test_an_answer_comes_back_as_it_was_told(history: tuple[Message, ...]) -> None:
    """The blocks of a turn, told by events, given back by the client."""
    turn = history[1]
    events: list[Event] = [STARTED]
    for index, block in enumerate(turn.blocks):
        match block.value:
            case Text(text):
                events.append(TextDelta(text, index))
            case ToolUse() as use:
                events.append(call_start(use.id, use.name, index))
                events.append(InputJSONDelta(bytes(use.input).decode(), index))
    document = ChatDocument(CompletionMeta(id="c", created=1), 1)
    document.receivers[0]([*in_blocks([*events, CALLED])])
    [choice] = json.loads(document.encode())["choices"]
    messages = [*as_chat(history[0]), choice["message"], *as_chat(history[2])]
    call = decode_chat(json.dumps({"messages": messages}).encode())
    assert told_messages(call.request.messages) == told_messages(history[:3])
