"""Calls of chat completions in all their forms, and thinking, there and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.conversation import (
    Message,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.dialects.chat_answer import ChatDocument, ChatStream, Heading
from ccproxy.dialects.chat_calls import CallForms
from ccproxy.dialects.chat_request import ChatCall, decode_chat
from ccproxy.dialects.free_text import FreeText, free_text
from ccproxy.errors import ClientError
from ccproxy.events import (
    Event,
    Finished,
    FinishReason,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from tests.support.spec import chunk_errors, document_errors

USER = {"role": "user", "content": "hello"}
STARTED = MessageStarted("m-1")
CALLED = Finished(FinishReason.TOOL_USE, Usage())
FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}


def decoded(*messages: dict[str, Any], **fields: Any) -> ChatCall:
    return decode_chat(json.dumps({"messages": [USER, *messages], **fields}).encode())


def told(forms: CallForms, *events: Event) -> tuple[dict[str, Any], list[Any]]:
    """The message of the document, and the deltas of the stream; both valid."""
    heading = Heading(id="chatcmpl-1", created=1)
    document = ChatDocument(heading, 1, forms)
    document.receive(0, events)
    body = json.loads(document.encode())
    assert document_errors(body) == []
    stream = ChatStream(heading, 1, False, forms)
    frames = stream.encode(0, events).decode().split("\n\n")
    chunks = [json.loads(f.removeprefix("data: ")) for f in frames if "{" in f]
    assert [error for chunk in chunks for error in chunk_errors(chunk)] == []
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    [choice] = body["choices"]
    assert choices[-1]["finish_reason"] == choice["finish_reason"]
    return choice, [choice["delta"] for choice in choices[1:-1]]


# Old functions


def test_old_functions_are_tools() -> None:
    call = decoded(functions=[FUNCTION])
    assert [tool.name for tool in call.prompt.tools] == ["look"]
    assert not call.prompt.parallel_calls
    assert not call.prompt.must_call
    assert call.forms.is_old


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        ("auto", ["look"], False),
        ("none", [], False),
        ({"name": "look"}, ["look"], True),
    ],
)
def test_old_choice(choice: object, names: list[str], must_call: bool) -> None:
    prompt = decoded(functions=[FUNCTION], function_call=choice).prompt
    assert [tool.name for tool in prompt.tools] == names
    assert prompt.must_call is must_call


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"function_call": {"name": "no"}}, "function_call"),
        ({"function_call": "always"}, "function_call"),
        ({"tools": [{"type": "function", "function": FUNCTION}]}, "functions"),
        ({"functions": [{"name": "a b"}]}, "functions[0].name"),
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
    _, first, result, second, last = decoded(*history).prompt.messages
    use = ToolUseBlock("function-1", "look", {"at": "sky"})
    assert first == Message(Role.ASSISTANT, (use,))
    assert result == Message(Role.USER, (ToolResultBlock("function-1", "blue"),))
    assert second.content[0] != use
    assert last.content == (ToolResultBlock("function-2", "grey"),)


def test_old_call_is_told_in_its_own_form() -> None:
    events: list[Event] = [STARTED, TextDelta("Hm."), ToolCallStarted("t1", "look")]
    pieces = [ToolCallDelta('{"at"'), ToolCallDelta(': "sky"}')]
    choice, deltas = told(CallForms(is_old=True), *events, *pieces, CALLED)
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
    [tool] = call.prompt.tools
    assert tool.description is not None
    assert tool.description.startswith("Patches.\n\n")
    assert tool.description.endswith('lark grammar:\n\nstart: "a"+')
    assert tool.input_schema["required"] == ["input"]
    assert call.forms.customs == {"patch"}


def test_custom_call_is_told_as_text() -> None:
    pieces = ['{"inp', 'ut": "a\\', "nb\\u00e", '9"}']
    events: list[Event] = [ToolCallStarted("t1", "patch"), *map(ToolCallDelta, pieces)]
    forms = CallForms(customs=frozenset({"patch"}))
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
    ).prompt.messages
    assert messages[1].content == (ToolUseBlock("c", "patch", {"input": "a\nb"}),)
    assert messages[2].content == (ToolResultBlock("c", "done", is_error=True),)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "custom"}, "tools[0].custom"),
        (custom(name="a b"), "tools[0].custom.name"),
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
    decoder = FreeText()
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
    decoder = FreeText()
    found = decoder.feed(text[:place]) + decoder.feed(text[place:]) + decoder.end()
    assert free_text(text) == found
    found.encode()


# Thinking

THOUGHT: list[Event] = [
    ThinkingDelta("Let me "),
    ThinkingDelta("see."),
    ThinkingSigned("c2ln"),
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
END = Finished(FinishReason.STOP, Usage())


def test_thinking_is_told_and_can_be_given_back() -> None:
    events = [STARTED, *THOUGHT, RedactedThinking("abc"), TextDelta("Fine."), END]
    choice, deltas = told(CallForms(), *events)
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
    [_, turn, _] = decoded(message, USER).prompt.messages
    assert turn.content == (
        ThinkingBlock("Let me see.", "c2ln", "m-1"),
        RedactedThinkingBlock("abc", "m-1"),
        TextBlock("Fine."),
    )


def test_without_thinking_there_is_no_word_of_it() -> None:
    choice, deltas = told(CallForms(), STARTED, TextDelta("Fine."), END)
    assert not [name for name in choice["message"] if "reasoning" in name]
    assert deltas == [{"content": "Fine."}]


def test_void_thinking_is_not_in_the_document() -> None:
    again: list[Event] = [
        Restarted(),
        STARTED,
        ThinkingDelta("Anew."),
        ThinkingSigned("bmV3"),
    ]
    choice, _ = told(CallForms(), STARTED, *THOUGHT, *again, TextDelta("a"), END)
    assert choice["message"]["reasoning_content"] == "Anew."
    [detail] = choice["message"]["reasoning_details"]
    assert detail["signature"] == "bmV3"


def thought(*details: object) -> tuple[Any, ...]:
    message = {"role": "assistant", "content": "a", "reasoning_details": details}
    return decoded(message, USER).prompt.messages[1].content[:-1]


def test_pieces_of_one_block_are_one() -> None:
    piece = {"type": "reasoning.text", "index": 0}
    found = thought(
        {**piece, "text": "Let me "},
        {**piece, "text": "see."},
        {**piece, "signature": "c2ln"},
        {**piece, "index": 1, "text": "unsigned"},
        {**piece, "index": 2, "text": "more", "signature": "bW9y"},
    )
    assert found == (
        ThinkingBlock("Let me see.", "c2ln"),
        ThinkingBlock("more", "bW9y"),
    )


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "reasoning.text", "text": "unsigned"},
        {"type": "reasoning.summary", "summary": "short"},
        {"type": "reasoning.encrypted"},
    ],
)
def test_what_cannot_go_back_is_left_out(detail: dict[str, Any]) -> None:
    assert thought(detail) == ()


@pytest.mark.parametrize("detail", [3, {}, {"type": "reasoning.text", "text": 5}])
def test_details_that_are_none(detail: object) -> None:
    with pytest.raises(ClientError) as caught:
        thought(detail)
    assert caught.value.param == "messages[1].reasoning_details[0]"


# Histories, there and back

NAMES = st.sampled_from(["look", "ask"])
WORDS = st.text("abc \n", min_size=1).filter(str.strip)
VALUES = st.dictionaries(
    st.text("ab"), st.integers(-3, 3) | st.text("ab\n"), max_size=2
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns as `Prompt.messages` has them, each call with its result."""
    turns = [Message(Role.USER, (TextBlock(draw(WORDS)),))]
    count = 0
    for size in draw(st.lists(st.integers(0, 3), max_size=4)):
        said = (TextBlock(draw(WORDS)),) if size == 0 or draw(st.booleans()) else ()
        uses = tuple(
            ToolUseBlock(f"call{count + n}", draw(NAMES), draw(VALUES))
            for n in range(size)
        )
        count += size
        turns.append(Message(Role.ASSISTANT, (*said, *uses)))
        results = tuple(
            ToolResultBlock(use.id, draw(st.text("ab ")), draw(st.booleans()))
            for use in uses
        )
        asked = (TextBlock(draw(WORDS)),) if size == 0 or draw(st.booleans()) else ()
        turns.append(Message(Role.USER, (*results, *asked)))
    return tuple(turns)


def as_chat(message: Message) -> list[dict[str, Any]]:
    """A turn as a client writes it."""
    text = "".join(b.text for b in message.content if isinstance(b, TextBlock))
    if message.role is Role.ASSISTANT:
        calls = [
            {
                "id": block.id,
                "type": "function",
                "function": {"name": block.name, "arguments": json.dumps(block.input)},
            }
            for block in message.content
            if isinstance(block, ToolUseBlock)
        ]
        return [{"role": "assistant", "content": text, "tool_calls": calls}]
    results: list[dict[str, Any]] = [
        {
            "role": "tool",
            "tool_call_id": block.tool_use_id,
            "content": block.content,
            "is_error": block.is_error,
        }
        for block in message.content
        if isinstance(block, ToolResultBlock)
    ]
    return [*results, *([{"role": "user", "content": text}] if text else [])]


@given(histories())
def test_any_history_is_the_same_there_and_back(history: tuple[Message, ...]) -> None:
    messages = [m for turn in history for m in as_chat(turn)]
    body = json.dumps({"messages": messages}).encode()
    assert decode_chat(body).prompt.messages == history


@given(histories().filter(lambda h: len(h) > 1))
def test_an_answer_comes_back_as_it_was_told(history: tuple[Message, ...]) -> None:
    """The blocks of a turn, told by events, given back by the client."""
    turn = history[1]
    events: list[Event] = [STARTED]
    for block in turn.content:
        if isinstance(block, TextBlock):
            events.append(TextDelta(block.text))
        elif isinstance(block, ToolUseBlock):
            events.append(ToolCallStarted(block.id, block.name))
            events.append(ToolCallDelta(json.dumps(block.input)))
    document = ChatDocument(Heading(id="c", created=1), 1)
    document.receive(0, [*events, CALLED])
    [choice] = json.loads(document.encode())["choices"]
    messages = [*as_chat(history[0]), choice["message"], *as_chat(history[2])]
    body = json.dumps({"messages": messages}).encode()
    assert decode_chat(body).prompt.messages == history[:3]
