"""The names of the beginnings that the prompt cache keeps."""

from typing import Any

from tests.support.composed import assistant, composed, request, tool, user

LONG = "x" * 20_000


def names(*turns: dict[str, Any], system: str = LONG, **fields: Any) -> tuple[str, ...]:
    asked = request([*turns], system=system, **fields)
    return composed(asked).body.prefixes


def test_a_beginning_has_the_same_name_in_each_request() -> None:
    first = names(user("one"))
    next_turn = names(user("one"), assistant("uno"), user("two"))
    assert len(first) == 2
    assert next_turn[1:] == first
    assert names(user("other"))[-1] == first[-1]


def test_another_beginning_has_another_name() -> None:
    whole, start = names(user("one"))
    assert start not in names(user("one"), system=f"{LONG}.")
    assert start not in names(user("one"), tools=[tool()])
    other, same = names(user("one"), output_config={"format": {"type": "other"}}), start
    assert whole not in other
    assert same in names(user("one"), max_tokens=7)


def test_a_short_beginning_has_none() -> None:
    assert names(user("one"), system="Be brief.") == ()
    assert len(names(user(LONG), system="Be brief.")) == 1
    told = [user(LONG), assistant("a"), user("b")]
    assert len(names(*told, system="Be brief.")) == 2
