"""The requests that resume a suspended session, and their results."""

from typing import Any

import pytest
from attrs import evolve

from ccproxy.claude.native.block_writer import BlockWriter
from ccproxy.claude.native.prompt import (
    DocumentBlock,
    ImageBlock,
    Prompt,
    PromptMessage,
    PromptTool,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.claude.native.suspension import Suspension, suspension_after
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import Finished, Restarted

ASKED = Prompt(
    model="m",
    messages=(PromptMessage(Role.USER, (TextBlock("hello"),)),),
    tools=(PromptTool("look", None, {"type": "object"}),),
)
ONE = ToolUseBlock("toolu_a", "look", {"at": "sky"})
TWO = ToolUseBlock("toolu_b", "look", {"at": "sea"})
WAITS = Suspension(ASKED, "Hm.", (ONE, TWO))
BLUE, GREEN = ToolResultBlock("toolu_a", "blue"), ToolResultBlock("toolu_b", "green")
CALLED = Finished("tool_use")


def request(answer: Any, results: Any, prompt: Prompt = ASKED) -> Prompt:
    said = PromptMessage(Role.ASSISTANT, tuple(answer))
    given = PromptMessage(Role.USER, tuple(results))
    return evolve(prompt, messages=(*prompt.messages, said, given))


SAID = (TextBlock("Hm."), ONE, TWO)


def test_results_are_put_into_the_order_of_the_calls() -> None:
    assert WAITS.results(request(SAID, (GREEN, BLUE))) == [BLUE, GREEN]


def test_the_clients_ids_of_calls_become_the_models() -> None:
    said = (TextBlock("Hm."), evolve(ONE, id="1"), evolve(TWO, id="2"))
    results = (evolve(GREEN, tool_use_id="2"), evolve(BLUE, tool_use_id="1"))
    assert WAITS.results(request(said, results)) == [BLUE, GREEN]


@pytest.mark.parametrize(
    "thought", [ThinkingBlock("hm", "c2ln"), RedactedThinkingBlock("ZGF0YQ==")]
)
def test_thinking_in_the_clients_copy_is_ignored(thought: Any) -> None:
    assert WAITS.results(request((thought, *SAID), (BLUE, GREEN))) == [BLUE, GREEN]


def test_blank_text_equals_no_text() -> None:
    waits = evolve(WAITS, text=" \n")
    assert waits.results(request((ONE, TWO), (BLUE, GREEN))) == [BLUE, GREEN]
    assert waits.results(request(SAID, (BLUE, GREEN))) is None


IMAGE = ImageBlock("image/png", "aW1n")
SHOWN_ALIKE = [
    ToolResultBlock("toolu_a", (TextBlock("blue"), IMAGE)),
    ToolResultBlock("toolu_a", "bad", is_error=True),
    ToolResultBlock("toolu_a", "x" * (40_000 - len("green"))),
]


@pytest.mark.parametrize("result", SHOWN_ALIKE)
def test_results_that_the_cli_passes_on_unchanged_resume_the_session(
    result: ToolResultBlock,
) -> None:
    assert WAITS.results(request(SAID, (result, GREEN))) == [result, GREEN]


SHOWN_OTHERWISE = [
    ToolResultBlock("toolu_a", ""),
    ToolResultBlock("toolu_a", " "),
    ToolResultBlock("toolu_a", ()),
    ToolResultBlock("toolu_a", (TextBlock("bad"),), is_error=True),
    ToolResultBlock("toolu_a", (ImageBlock(None, "https://example.org/a.png"),)),
    ToolResultBlock("toolu_a", (DocumentBlock("application/pdf", "cGRm"),)),
    ToolResultBlock("toolu_a", "x" * 40_000),
    ToolResultBlock("toolu_a", (TextBlock("x" * 20_000), TextBlock("x" * 20_000))),
]


@pytest.mark.parametrize("result", SHOWN_OTHERWISE)
def test_results_that_the_cli_would_change_do_not_resume_the_session(
    result: ToolResultBlock,
) -> None:
    assert WAITS.results(request(SAID, (result, GREEN))) is None


OTHERS = [
    ("another text", request((TextBlock("Oh."), ONE, TWO), (BLUE, GREEN))),
    ("text behind", request((ONE, TextBlock("Hm."), TWO), (BLUE, GREEN))),
    ("a call less", request((TextBlock("Hm."), ONE), (BLUE,))),
    ("another order", request((TextBlock("Hm."), TWO, ONE), (BLUE, GREEN))),
    (
        "other arguments",
        request((TextBlock("Hm."), evolve(ONE, input={}), TWO), (BLUE, GREEN)),
    ),
    ("another block", request((*SAID, IMAGE), (BLUE, GREEN))),
    ("a result less", request(SAID, (BLUE,))),
    ("a result more", request(SAID, (BLUE, GREEN, evolve(GREEN, tool_use_id="c")))),
    ("words beside", request(SAID, (BLUE, GREEN, TextBlock("and?")))),
    ("another model", request(SAID, (BLUE, GREEN), evolve(ASKED, model="n"))),
    ("other tools", request(SAID, (BLUE, GREEN), evolve(ASKED, tools=()))),
    ("nothing new", ASKED),
    (
        "another beginning",
        request(
            SAID,
            (BLUE, GREEN),
            evolve(ASKED, messages=(PromptMessage(Role.USER, (TextBlock("hi"),)),)),
        ),
    ),
    (
        "a turn of the user's between",
        evolve(ASKED, messages=(*ASKED.messages, PromptMessage(Role.USER, SAID)) * 2),
    ),
]


@pytest.mark.parametrize("prompt", [p for _, p in OTHERS], ids=[n for n, _ in OTHERS])
def test_any_other_request_does_not_resume_the_session(prompt: Prompt) -> None:
    assert WAITS.results(prompt) is None


def test_an_answer_in_a_users_message_does_not_resume_the_session() -> None:
    messages = request(SAID, (BLUE, GREEN)).messages
    wrong = (messages[0], evolve(messages[1], role=Role.USER), messages[2])
    assert WAITS.results(evolve(ASKED, messages=wrong)) is None


# What is noted of a turn.


# One step of the model: what it says, or a call with its arguments in pieces.
Step = str | Restarted | tuple[ToolUseBlock, tuple[str, ...]]
MESSAGE = ""


def call(use: ToolUseBlock, *pieces: str) -> Step:
    return use, pieces


def noted(*steps: Step, prompt: Prompt = ASKED, end: Finished = CALLED) -> Any:
    writer, message = BlockWriter(), MessageBuilder()
    message.receive(writer.message("m"))
    for step in steps:
        match step:
            case "":
                message.receive(writer.message("m"))
            case str():
                message.receive(writer.text(step))
            case Restarted():
                message.receive(writer.restart(step))
            case (use, pieces):
                message.receive(writer.call(use.id, use.name))
                for piece in pieces:
                    message.receive(writer.arguments(piece))
    message.receive([*writer.close(), end])
    return suspension_after(prompt, message)


def test_a_suspension_has_the_turns_text_and_calls() -> None:
    steps = ["H", "m.", call(ONE, '{"at":', '"sky"}'), call(TWO, '{"at":"sea"}')]
    assert noted(*steps) == WAITS


def test_a_call_without_arguments_has_an_empty_input() -> None:
    assert noted(call(ONE)).calls == (evolve(ONE, input={}),)


def test_a_suspension_has_no_void_parts() -> None:
    void = [MESSAGE, "X", call(TWO, "{}"), "Y"]
    suspension = noted("Before. ", *void, Restarted(), MESSAGE, "Hm.", call(ONE))
    assert suspension.text == "Before. Hm."
    assert [one.id for one in suspension.calls] == ["toolu_a"]


def test_a_turn_that_did_not_end_with_calls_is_not_suspended() -> None:
    assert noted(call(ONE), end=Finished("end_turn")) is None


def test_a_turn_with_text_after_a_call_is_not_suspended() -> None:
    assert noted(call(ONE), "Hm.") is None


@pytest.mark.parametrize("arguments", ["{", "[]", "1"])
def test_a_turn_with_invalid_arguments_is_not_suspended(arguments: str) -> None:
    assert noted(call(ONE, arguments)) is None


@pytest.mark.parametrize(
    ("ids", "is_clear"),
    [
        (("a", "b"), True),
        (("a", "a"), False),
        (("a", "a_2"), False),
        (("a_2", "b_2"), True),
        (("a_b", "a"), True),
    ],
)
def test_a_turn_with_ids_that_the_cli_confuses_is_not_suspended(
    ids: tuple[str, str], is_clear: bool
) -> None:
    first, second = (evolve(ONE, id=identifier) for identifier in ids)
    assert (noted(call(first), call(second)) is not None) is is_clear
    # One of them may be in the history.
    earlier = request((first,), (ToolResultBlock(first.id, "blue"),))
    assert (noted(call(second), prompt=earlier) is not None) is is_clear
