"""Which requests are counted as one conversation."""

from typing import Any

from attrs import evolve

from ccproxy.core.conversation import conversation_id
from tests.support.composed import assistant, request, text, user

BEGINNING = [user("a secret question")]
LATER = [*BEGINNING, assistant("an answer"), user("more")]
MARKED = [user(text("a secret question", cache_control={"type": "ephemeral"}))]
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a"}}


def _id(messages: Any, key: str = "1a2b3c4d", system: str = "Be brief.") -> str:
    return conversation_id(request(messages, system=system), key)


def test_all_requests_of_a_conversation_have_one_id() -> None:
    assert _id(BEGINNING) == _id(LATER) == _id(MARKED)
    pictured = [user(IMAGE), user({**IMAGE, "cache_control": {"type": "ephemeral"}})]
    assert len({_id([one]) for one in pictured}) == 1
    assert len(_id(BEGINNING)) == 16
    assert "secret" not in _id(BEGINNING)


def test_other_beginnings_have_other_ids() -> None:
    found = [
        _id(BEGINNING),
        _id(BEGINNING, key="other"),
        _id(BEGINNING, system="Be long."),
        _id([user("another question")]),
        _id([user("a secret", " question")]),
        _id([user(IMAGE)]),
        _id([user({**IMAGE, "source": {"type": "url", "url": "https://b.example"}})]),
    ]
    assert len(set(found)) == len(found)


def test_without_a_message_of_the_user_there_is_an_id() -> None:
    assert _id([assistant("a")]) != _id(BEGINNING)


def test_a_stored_conversation_has_its_own_id() -> None:
    asked = evolve(request(BEGINNING), conversation="conv_1")
    assert conversation_id(asked, "1a2b3c4d") == "conv_1"
