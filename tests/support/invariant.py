"""The invariant of every request, whatever goes wrong.

A request ends in a complete answer, an answer that is marked incomplete, or an error.
No text comes twice, none is silently missing, and the next request works. The fixture
in `tests.conftest` checks that nothing is left behind and no error is logged.
"""

import json
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any

from attrs import frozen

from tests.support.server import RunningProxy, events
from tests.support.spec import error_errors

_INCOMPLETE = ("length", "content_filter")


class End(Enum):
    COMPLETE = auto()
    INCOMPLETE = auto()
    ERROR = auto()


@frozen
class Outcome:
    """The outcome of a request; ``error`` is the error document, if there is one."""

    end: End
    text: str
    status: int
    error: Mapping[str, Any] | None = None


def outcome_of(status: int, text: str, *, stream: bool) -> Outcome:
    """Read the whole response of a chat completion.

    Raises:
        AssertionError: the response ends in none of the three ways, or in two.
    """
    if status != 200:
        document = json.loads(text)
        assert error_errors(document) == []
        return Outcome(End.ERROR, "", status, document["error"])
    if stream:
        return _streamed(events(text))
    document = json.loads(text)
    assert "error" not in document
    [choice] = document["choices"]
    said = choice["message"]["content"] or ""
    return Outcome(_end(choice["finish_reason"]), said, status)


def _streamed(told: Sequence[str]) -> Outcome:
    *before, last = told
    chunks = [json.loads(data) for data in before]
    assert not any("error" in chunk for chunk in chunks), "something after the error"
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    reasons = [c["finish_reason"] for c in choices if c["finish_reason"] is not None]
    if last == "[DONE]":
        assert len(reasons) == 1, "not one end"
        assert choices[-1]["finish_reason"] is not None, "something after the end"
        return Outcome(_end(reasons[0]), said, 200)
    error = json.loads(last)["error"]
    assert reasons == [], "an end before the error"
    return Outcome(End.ERROR, said, 200, error)


def _end(reason: str) -> End:
    return End.INCOMPLETE if reason in _INCOMPLETE else End.COMPLETE


async def ask(server: RunningProxy, words: str, *, stream: bool) -> Outcome:
    """Send a request, and read its outcome."""
    response = await server.chat(words, stream=stream)
    return outcome_of(response.code, await response.text(), stream=stream)


async def keeps_the_invariant(
    server: RunningProxy, words: str, whole: Sequence[str], *, stream: bool
) -> Outcome:
    """Send a request that goes wrong, then one that does not.

    Args:
        server: the server under test.
        words: the question; with ``please`` in it, the CLI works.
        whole: the allowed complete answers; an incomplete answer must begin one.
        stream: whether to stream.
    """
    outcome = await ask(server, words, stream=stream)
    if outcome.end is End.COMPLETE:
        assert outcome.text in whole
    else:
        assert any(text.startswith(outcome.text) for text in whole)
    following = await ask(server, "please", stream=stream)
    assert (following.end, following.text) == (End.COMPLETE, "fake answer")
    return outcome
