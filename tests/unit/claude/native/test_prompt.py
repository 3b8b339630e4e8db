"""Prompts of native mode: neighbours of one role are joined."""

from itertools import pairwise
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.prompt import PromptMessage, Role, TextBlock, turns
from ccproxy.core.blocks import is_blank

TEXTS = st.text("ab \n\ufeff\u2028", max_size=3)
MESSAGES = st.lists(
    st.builds(
        PromptMessage,
        st.sampled_from(Role),
        st.lists(st.builds(TextBlock, TEXTS), max_size=3).map(tuple),
    )
)


def message(role: Role, *texts: str) -> PromptMessage:
    return PromptMessage(role, tuple(map(TextBlock, texts)))


def said(
    messages: tuple[PromptMessage, ...] | list[PromptMessage],
) -> list[tuple[Role, str]]:
    """Each text that is not blank, with who said it."""
    return [
        (message.role, block.text)
        for message in messages
        for block in message.content
        if isinstance(block, TextBlock) and not is_blank(block.text)
    ]


def test_neighbours_of_one_role_are_one_turn_of_several_blocks() -> None:
    assert turns([message(Role.USER, "a"), message(Role.USER, "b", "c")]) == (
        message(Role.USER, "a", "b", "c"),
    )


def test_other_turns_stay_as_they_are() -> None:
    conversation = (
        message(Role.USER, "a"),
        message(Role.ASSISTANT, "b"),
        message(Role.USER, " c\n"),
    )
    assert turns(conversation) == conversation


def test_blank_blocks_are_left_out() -> None:
    assert turns([message(Role.USER, "", "a", " \n")]) == (message(Role.USER, "a"),)


def test_turns_around_an_empty_one_are_joined() -> None:
    conversation = [
        message(Role.USER, "a"),
        message(Role.ASSISTANT, " "),
        message(Role.USER, "b"),
    ]
    assert turns(conversation) == (message(Role.USER, "a", "b"),)


def test_many_neighbours_do_not_keep_the_server_busy() -> None:
    many = [message(Role.USER, "x")] * 60_000
    before = process_time()
    [turn] = turns(many)
    # Some 50 ms, against two seconds where time grows by the square.
    assert process_time() - before < 1
    assert len(turn.content) == len(many)


@given(MESSAGES)
def test_roles_alternate_and_nothing_is_blank(messages: list[PromptMessage]) -> None:
    joined = turns(messages)
    assert all(one.role is not next_.role for one, next_ in pairwise(joined))
    assert all(turn.content for turn in joined)
    texts = [b.text for t in joined for b in t.content if isinstance(b, TextBlock)]
    assert not any(map(is_blank, texts))


@given(MESSAGES)
def test_every_text_is_kept_in_order_and_with_its_role(
    messages: list[PromptMessage],
) -> None:
    assert said(turns(messages)) == said(messages)


@given(MESSAGES)
def test_turns_of_turns_are_the_same(messages: list[PromptMessage]) -> None:
    once = turns(messages)
    assert turns(once) == once
