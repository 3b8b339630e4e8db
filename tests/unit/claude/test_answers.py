"""The remembered answers in memory."""

import json
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.answer_cache import InMemoryAnswers, answer_content
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.core.blocks import Block, search_copy
from ccproxy.core.messages import Message
from tests.support.composed import call, raw_message, text, thought
from tests.support.messages_requests import json_objects

T = TypeVar("T")
MODEL = "claude-opus-5-5"


def _blocks(*content: Any) -> tuple[Block, ...]:
    return raw_message("assistant", list(content)).blocks


def _answer(n: int, size: int = 0) -> tuple[Block, ...]:
    return _blocks(thought("x" * size), text(f"answer {n}"))


def _find(memory: RememberedAnswers, n: int, now: float, **fields: Any) -> Any:
    asked = {"prefix": f"p{n}", "model_id": MODEL, "is_bound": True, **fields}
    model_id, is_bound = asked["model_id"], asked["is_bound"]
    client_copy = _blocks(text(f"answer {n}"))
    found = memory.of("ann", now)
    return found.find(asked["prefix"], client_copy, model_id, is_bound=is_bound)


def _memory(limit_bytes: int = 1_000_000) -> RememberedAnswers:
    return RememberedAnswers(InMemoryAnswers(limit_bytes, 60.0))


def test_an_answer_is_found_until_its_time_is_over() -> None:
    memory = _memory()
    memory.remember("ann", "p1", _answer(1), MODEL, 0.0)
    assert _find(memory, 1, 59.0) == _answer(1)
    # Its use has kept it.
    assert _find(memory, 1, 118.0) == _answer(1)
    assert _find(memory, 1, 178.0) is None


def test_the_least_recently_used_go_first() -> None:
    memory = _memory(limit_bytes=8_000)
    for n in range(3):
        memory.remember("ann", f"p{n}", _answer(n, 1_000), MODEL, float(n))
    assert _find(memory, 0, 5.0) is not None
    for n in range(3, 6):
        memory.remember("ann", f"p{n}", _answer(n, 1_000), MODEL, float(n))
    found = [n for n in range(6) if _find(memory, n, 6.0) is not None]
    assert 5 in found
    assert 1 not in found
    assert 0 < len(found) < 6


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3_000)), max_size=30))
def test_no_more_is_kept_than_the_limit(steps: list[tuple[int, int]]) -> None:
    store = InMemoryAnswers(10_000, 60.0)
    memory = RememberedAnswers(store)
    for now, (n, size) in enumerate(steps):
        memory.remember("ann", f"p{n}", _answer(n, size), MODEL, float(now))
        assert 0 <= store.size_bytes <= 10_000
    memory.forget()
    assert store.size_bytes == 0


def test_one_that_is_larger_than_everything_is_not_kept() -> None:
    memory = _memory(limit_bytes=1_000)
    memory.remember("ann", "p1", _answer(1, 5_000), MODEL, 0.0)
    assert _find(memory, 1, 0.0) is None


def test_what_has_no_thinking_is_not_kept() -> None:
    store = InMemoryAnswers(10_000, 60.0)
    RememberedAnswers(store).remember("ann", "p1", _blocks(text("x")), MODEL, 0.0)
    assert store.size_bytes == 0


def test_several_answers_to_one_question_are_kept() -> None:
    memory = _memory()
    for n in (1, 2):
        memory.remember("ann", "p", _answer(n), MODEL, 0.0)
    for n in (1, 2):
        assert _find(memory, n, 0.0, prefix="p") == _answer(n)


def test_dates_and_clouds_are_no_other_model() -> None:
    memory = _memory()
    memory.remember("ann", "p1", _answer(1), "claude-haiku-4-5-20251001", 0.0)
    for model_id, is_found in [
        ("claude-haiku-4-5", True),
        ("claude-haiku-4-5@20251001", True),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("claude-haiku-4-5-20251001[1m]", True),
        ("claude-haiku-5-5", False),
        ("claude-sonnet-4-5", False),
        ("", False),
    ]:
        assert (_find(memory, 1, 0.0, model_id=model_id) is not None) is is_found


def test_forgotten_is_forgotten() -> None:
    memory = _memory()
    memory.remember("ann", "p1", _answer(1), MODEL, 0.0)
    memory.forget()
    assert _find(memory, 1, 0.0) is None


@given(json_objects)
def test_what_is_said_does_not_depend_on_how_it_is_written(
    arguments: dict[str, Any],
) -> None:
    one = {**call("a"), "input": arguments}
    other = dict(reversed(arguments.items()))
    spaced = json.dumps({**one, "id": "b", "input": other}, indent=2)
    block = Block.decode(spaced.encode())
    assert answer_content(_blocks(one)) == answer_content((block,))


def test_numbers_count_by_their_value() -> None:
    wide = Block.decode(
        b'{"type":"tool_use","id":"a","name":"f","input":{"n":1.0,"m":1e400}}'
    )
    same = Block.decode(
        b'{"type":"tool_use","id":"a","name":"f","input":{"m":1e400, "n":1}}'
    )
    other = Block.decode(
        b'{"type":"tool_use","id":"a","name":"f","input":{"m":1e400, "n":2}}'
    )
    assert answer_content((wide,)) == answer_content((same,))
    assert answer_content((wide,)) != answer_content((other,))


# Shared


@define
class Shelf:
    """A shared memory that is a list."""

    rows: list[tuple[str, tuple[str, str], bytes]] = field(factory=list)

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        self.rows.append((owner, key, document))

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        calls, client_copy = zip(*keys, strict=True)
        return [
            document
            for whose, (a, b), document in self.rows
            if whose == owner and (a in calls or b in client_copy)
        ]


def _shared(shelf: Shelf) -> RememberedAnswers:
    return RememberedAnswers(InMemoryAnswers(1_000_000, 60.0), "me", shelf)


def _steps(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def _learn(memory: RememberedAnswers, owner: str, *turns: Any) -> int:
    """Look up a conversation; how many keys were asked for."""
    messages = [raw_message(role, content) for role, content in turns]
    keys = _steps(memory.missing_keys(owner, messages, 0.0))
    asking = memory.find_shared(owner, keys)
    try:
        asking.send(None)
    except StopIteration as end:
        list(memory.add_shared(owner, end.value, 0.0))
    return len(keys)


CALLED = [thought("hm"), text("I look."), call("toolu_01")]
COPY = [text("I look."), call("toolu_01")]


def _recalled(memory: RememberedAnswers, owner: str, copy: Any = COPY) -> Any:
    client_copy = _blocks(*copy)
    return memory.of(owner, 0.0).find("p", client_copy, MODEL, is_bound=True)


@pytest.mark.parametrize("identifier", ["toolu_01", "toolu01", "of my own"])
def test_another_server_learns_an_answer(identifier: str) -> None:
    shelf = Shelf()
    _shared(shelf).remember("ann", "p", _blocks(*CALLED), MODEL, 0.0)
    other = _shared(shelf)
    copy = [text("I look."), call(identifier)]
    assert _recalled(other, "ann", copy) is None
    asked = [("user", [text("Hi")]), ("assistant", copy), ("user", [text("And?")])]
    assert _learn(other, "ann", *asked) == 1
    assert _recalled(other, "ann", copy) == _blocks(*CALLED)
    assert other.of("ann", 0.0).find("q", _blocks(*copy), MODEL, is_bound=True) is None


def test_a_turn_that_came_back_in_pieces_is_learnt() -> None:
    shelf = Shelf()
    _shared(shelf).remember("ann", "p", _blocks(*CALLED), MODEL, 0.0)
    other = _shared(shelf)
    pieces = [("assistant", [text("I look.")]), ("assistant", [call("other")])]
    _learn(other, "ann", *pieces)
    assert _recalled(other, "ann") == _blocks(*CALLED)


def test_other_owners_and_logins_learn_nothing() -> None:
    shelf = Shelf()
    _shared(shelf).remember("ann", "p", _blocks(*CALLED), MODEL, 0.0)
    other = _shared(shelf)
    _learn(other, "bob", ("assistant", COPY))
    assert _recalled(other, "bob") is None
    other.account = "another"
    _learn(other, "ann", ("assistant", COPY))
    assert _recalled(other, "ann") is None


def test_nothing_readable_names_who_or_what_it_is() -> None:
    shelf = Shelf()
    _shared(shelf).remember("ann", "p", _blocks(*CALLED), MODEL, 0.0)
    [(owner, key, _)] = shelf.rows
    names = " ".join((owner, *key))
    assert not any(word in names for word in ("ann", "me", "look", "toolu"))


def test_what_must_not_be_kept_stays_in_memory() -> None:
    shelf = Shelf()
    memory = _shared(shelf)
    memory.remember("ann", "p", _blocks(*CALLED), MODEL, 0.0, is_shared=False)
    assert shelf.rows == []
    assert _recalled(memory, "ann") == _blocks(*CALLED)


def test_the_store_is_asked_for_what_it_alone_may_know() -> None:
    shelf = Shelf()
    memory = _shared(shelf)
    memory.remember("ann", "p", _blocks(*CALLED), MODEL, 0.0)
    memory.remember("ann", "p", _blocks(call("toolu_plain")), MODEL, 0.0)
    assert len(shelf.rows) == 1
    for content, asked in [
        (COPY, 0),
        ([call("toolu_plain")], 0),
        ([text("no call")], 0),
        ([call("toolu_02")], 1),
        # Its client gives thinking back by itself.
        ([thought("hm"), call("toolu_02")], 0),
    ]:
        assert _learn(memory, "ann", ("assistant", content)) == asked


def test_what_another_version_has_written_is_left_out() -> None:
    memory = _shared(Shelf())
    documents = [b"{", b'{"prefix":"p","model":"m","blocks":[{}]}', b"[]"]
    assert list(memory.add_shared("ann", documents, 0.0)) == []
    assert _recalled(memory, "ann") is None


def test_another_server_learns_a_search_by_its_text() -> None:
    """Such an answer may have no call with an id."""
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    made, shelf = [found, text("It is so.")], Shelf()
    for number, content in enumerate((made, [found, text("Or so.")])):
        blocks = _blocks(*content)
        _shared(shelf).remember("ann", f"p{number}", blocks, MODEL, 0.0)
    memory = _shared(shelf)
    asked = [Message("user", "go"), Message("assistant", "It is so.")]
    assert _steps(memory.missing_keys("ann", asked, 0.0)) == []
    asked.insert(1, Message("assistant", (search_copy("m[1]"),)))
    keys = _steps(memory.missing_keys("ann", asked, 0.0))
    with pytest.raises(StopIteration) as end:
        memory.find_shared("ann", keys).send(None)
    [document] = end.value.value
    list(memory.add_shared("ann", [document], 0.0))
    client_copy = _blocks(text("It is so."))
    found_again = memory.of("ann", 0.0).find("p0", client_copy, MODEL, is_bound=True)
    assert found_again == _blocks(*made)
    # It is not looked up twice.
    assert _steps(memory.missing_keys("ann", asked, 0.0)) == []
