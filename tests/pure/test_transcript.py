"""What of a CLI's conversation another question can use."""

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.recording import Recording
from ccproxy.claude.native.transcript import Plan, Reuse, Transcript, fingerprints
from ccproxy.claude.protocol.records import (
    AssistantMessage,
    ContentBlock,
    Delta,
    MessageBody,
    Record,
    SSEEvent,
    StreamEvent,
    UserMessage,
)
from ccproxy.conversation import (
    Effort,
    Message,
    Prompt,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)


def user(*texts: str) -> Message:
    return Message(Role.USER, tuple(map(TextBlock, texts)))


def model(text: str) -> Message:
    return Message(Role.ASSISTANT, (TextBlock(text),))


def prompt(*messages: Message, **fields: Any) -> Prompt:
    return Prompt(model="m", messages=messages, **fields)


CALL = Message(Role.ASSISTANT, (ToolUseBlock("t", "look", {"a": 1}),))
RESULT = Message(Role.USER, (ToolResultBlock("t", "sun"), TextBlock("so?")))


def put(transcript: Transcript, asked: Prompt, plan: Plan, *answers: Message) -> None:
    """What a session does with a question."""
    transcript.rewound(plan)
    transcript.begin(asked)
    for position in range(plan.kept, len(asked.messages)):
        transcript.told(asked.messages[position], f"u{position}")
    for answer in answers:
        transcript.answered(answer)


def after(asked: Prompt, answer: Message | None = None) -> Transcript:
    transcript = Transcript()
    put(transcript, asked, Plan(None, 0))
    transcript.answered(answer)
    return transcript


def plan(
    transcript: Transcript, asked: Prompt, reuse: Reuse = Reuse.REWIND
) -> Plan | None:
    return transcript.plan(asked, fingerprints(asked), reuse)


FIRST = prompt(user("a"))
NEXT = prompt(user("a"), model("b"), user("c"))


def test_nothing_is_known_of_a_new_one() -> None:
    assert plan(Transcript(), NEXT) == Plan(None, 0)
    assert plan(Transcript(), NEXT, Reuse.CONTINUE) == Plan(None, 0)


def test_next_turn() -> None:
    known = after(FIRST, model("b"))
    for reuse in (Reuse.REWIND, Reuse.CONTINUE):
        assert plan(known, NEXT, reuse) == Plan(None, 2)


def test_answer_that_is_not_known_is_taken_back() -> None:
    assert plan(after(FIRST), NEXT) == Plan("u0", 0)
    assert plan(after(FIRST), NEXT, Reuse.CONTINUE) is None


def test_the_same_question_again() -> None:
    assert plan(after(FIRST, model("b")), FIRST) == Plan("u0", 0)
    assert plan(after(NEXT, model("d")), NEXT) == Plan("u2", 2)


def test_edited_answer() -> None:
    edited = prompt(user("a"), model("B"), user("c"))
    assert plan(after(NEXT, model("d")), edited) == Plan("u0", 0)


def test_branch_keeps_what_is_shared() -> None:
    branch = prompt(user("a"), model("b"), user("other"))
    assert plan(after(NEXT, model("d")), branch) == Plan("u2", 2)


def test_results_cannot_be_rewound_to() -> None:
    loop = prompt(user("a"), CALL, RESULT)
    again = prompt(user("a"), CALL, evolve(RESULT, content=RESULT.content[:1]))
    assert plan(after(loop, model("b")), again) == Plan("u0", 0)


def test_conversation_that_begins_with_the_model() -> None:
    begun = prompt(model("hello"), user("a"))
    known = after(begun, model("b"))
    assert plan(known, prompt(user("x"))) is None
    assert plan(known, begun) == Plan("u1", 1)
    # Until nothing is left of it but the beginning.
    other = prompt(model("hello"), user("x"))
    assert plan(known, other) == Plan("u1", 1)


def test_another_model_or_effort_has_to_begin_at_nothing() -> None:
    known = after(FIRST, model("b"))
    for other in (evolve(NEXT, model="n"), evolve(NEXT, effort=Effort.LOW)):
        assert plan(known, other) == Plan("u0", 0)
        put(known, other, Plan("u0", 0), model("d"))
        assert plan(known, other) == Plan("u2", 2)
        put(known, FIRST, Plan("u0", 0), model("b"))


def test_values_that_python_takes_for_equal_are_not() -> None:
    for value in (True, 1.0, "1", [1]):
        other = Message(Role.ASSISTANT, (ToolUseBlock("t", "look", {"a": value}),))
        known = after(prompt(user("a"), CALL, RESULT), model("b"))
        assert plan(known, prompt(user("a"), other, RESULT)) == Plan("u0", 0)


def test_kinds_of_blocks_are_told_apart() -> None:
    thought = Message(Role.ASSISTANT, (ThinkingBlock("b", "s", "m"),))
    told = prompt(user("a"), thought, user("c"))
    assert plan(after(FIRST, model("b")), told) == Plan("u0", 0)
    joined = prompt(user("ab"))
    apart = prompt(user("a", "b"))
    assert fingerprints(joined) != fingerprints(apart)


MESSAGES = st.lists(st.sampled_from("ab"), min_size=1, max_size=7).map(
    lambda texts: tuple(
        (user if position % 2 == 0 else model)(text)
        for position, text in enumerate(texts[: len(texts) - 1 + len(texts) % 2])
    )
)


@given(st.lists(st.tuples(MESSAGES, st.sampled_from("ab"), st.booleans())))
def test_whatever_is_asked_the_cli_has_the_questions_conversation(
    steps: list[tuple[tuple[Message, ...], str, bool]],
) -> None:
    transcript = Transcript()
    held: list[Message] = []
    for messages, answer, is_known in steps:
        asked = prompt(*messages)
        made = plan(transcript, asked)
        assert made is not None
        if made.rewind_to is None:
            assert made.kept == len(held)
        del held[made.kept :]
        assert tuple(held) == messages[: made.kept]
        put(transcript, asked, made)
        transcript.answered(model(answer) if is_known else None)
        held += [*messages[made.kept :], model(answer if is_known else "?")]
        assert len(transcript) == len(held)


# The answer as the CLI keeps it


def start(identifier: str = "m1") -> Record:
    body = MessageBody(identifier, "full")
    return StreamEvent(SSEEvent("message_start", message=body))


def block(kind: str, *deltas: Delta, **fields: Any) -> list[Record]:
    begun = ContentBlock(kind, **fields)
    return [
        StreamEvent(SSEEvent("content_block_start", content_block=begun)),
        *(StreamEvent(SSEEvent("content_block_delta", delta=d)) for d in deltas),
        StreamEvent(SSEEvent("content_block_stop")),
    ]


def recorded(*records: Record) -> Message | None:
    recording = Recording("m0")
    for record in records:
        recording.receive(record)
    return recording.message()


JSON = (Delta(partial_json='{"a":'), Delta(partial_json="1}"))
TEXT = block("text", Delta(text="on"), Delta(text="e"))


def test_whole_answer() -> None:
    answer = recorded(
        # What still belongs to the message before.
        AssistantMessage(MessageBody("m0", "full")),
        UserMessage(),
        start(),
        *block("thinking", Delta(thinking="hm"), Delta(signature="sig")),
        *block("redacted_thinking", data="xx"),
        *TEXT,
        AssistantMessage(MessageBody("m1", "full")),
        *block(
            "tool_use",
            Delta(partial_json='{"a":'),
            Delta(partial_json="1}"),
            id="t",
            name="look",
        ),
        *block("tool_use", id="t2", name="look"),
    )
    assert answer == Message(
        Role.ASSISTANT,
        (
            ThinkingBlock("hm", "sig", "full"),
            RedactedThinkingBlock("xx", "full"),
            TextBlock("one"),
            ToolUseBlock("t", "look", {"a": 1}),
            ToolUseBlock("t2", "look", {}),
        ),
    )


def test_what_is_not_known_word_for_word_is_not_kept() -> None:
    other = AssistantMessage(MessageBody("m9", "full"))
    for records in (
        [],
        [start()],
        [start(), *TEXT, start("m2"), *TEXT],
        [start(), *TEXT, UserMessage()],
        [start(), *TEXT, other],
        [start(), *TEXT, *block("text", Delta(text=" \n"))],
        [start(), *TEXT, *block("server_tool_use", id="s", name="search")],
        [start(), *block("text", Delta(text="one"), Delta("citations_delta"))],
        [start(), *block("thinking", Delta(thinking="unsigned")), *TEXT],
        [start(), *block("tool_use", Delta(partial_json="[1]"), id="t", name="look")],
        [start(), *block("tool_use", Delta(partial_json="{"), id="t", name="look")],
    ):
        assert recorded(*records) is None
