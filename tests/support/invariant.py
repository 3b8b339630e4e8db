"""What holds of every request, whatever happens to it.

It ends in exactly one of a complete answer, an answer marked incomplete, or an error;
no text twice and none silently missing; and the next request works. That nothing is
left of it, and no unhandled error in the log, the fixture of `tests.conftest` sees to.
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
    """What has become of a request; ``error`` is the document, if there is one."""

    end: End
    text: str
    status: int
    error: Mapping[str, Any] | None = None


def outcome_of(status: int, text: str, *, stream: bool) -> Outcome:
    """Read what a client of chat completions was sent, to the end.

    Raises:
        AssertionError: it ends in none of the three ways, or in two.
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
    """Ask, and read the outcome."""
    response = await server.chat(words, stream=stream)
    return outcome_of(response.code, await response.text(), stream=stream)


async def keeps_the_invariant(
    server: RunningProxy, words: str, whole: Sequence[str], *, stream: bool
) -> Outcome:
    """Ask for what goes wrong, and then for what does not.

    Args:
        server: which is to bear it.
        words: the question; with ``please`` in it, the CLI does nothing wrong.
        whole: what a complete answer may be; any other is to be the beginning of one.
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
