"""What the proxy hands out it takes back, in every API, streamed or not.

Random answers of the provider go to a client, which sends them back with results for
their calls. The provider must take that request, and it must hold what the client has.
``CCPROXY_FUZZ=500`` tries more than the suite has time for.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.core.blocks import ToolUse
from ccproxy.core.message_builder import MessageBuilder
from tests.support.composed import BETAS, composed, upstream
from tests.support.provider_rules import Issued, violations
from tests.support.provider_thinking import Signature
from tests.support.scripted_answers import (
    REDACTED,
    SIGNATURE,
    UNKNOWN,
    ScriptedAnswer,
    scripted_answers,
)
from tests.support.sdk_clients import (
    ChatClient,
    Events,
    MessagesClient,
    ResponsesClient,
    SDKClient,
)
from tests.support.taken_back import handed_out, held

# Without the second, no answer has a block of type `fallback`.
SENT = BETAS | {"server-side-fallback-2026-07-01"}
TRIES = int(os.environ.get("CCPROXY_FUZZ", "40"))
MODELS = ("claude-sonnet-5-5", "claude-opus-4-8", "claude-haiku-4-5-20251001")


@frozen
class Case:
    """An answer, and how it reaches the client and comes back."""

    answer: ScriptedAnswer
    streams: bool
    remembers: bool
    model: str


def cases() -> st.SearchStrategy[Case]:
    flags = st.booleans()
    return st.builds(Case, scripted_answers(), flags, flags, st.sampled_from(MODELS))


def answers(test: Callable[[Case], None]) -> Callable[[], None]:
    drawn: Callable[[], None] = given(cases())(test)
    slow = (HealthCheck.too_slow, HealthCheck.data_too_large)
    return settings(max_examples=TRIES, deadline=None, suppress_health_check=slow)(
        drawn
    )


@answers
def test_chat_completions(case: Case) -> None:
    taken_back(ChatClient(), case)


@answers
def test_chat_completions_with_functions(case: Case) -> None:
    taken_back(ChatClient(is_legacy=True), case)


@answers
def test_responses(case: Case) -> None:
    taken_back(ResponsesClient(), case)


@answers
def test_messages(case: Case) -> None:
    taken_back(MessagesClient({"type": "adaptive"}), case)


@answers
def test_messages_without_thinking(case: Case) -> None:
    taken_back(MessagesClient(), case)


def taken_back(client: SDKClient, case: Case) -> None:
    """Give an answer to a client, and take it back."""
    asked = client.decoded(client.first())
    first = composed(asked.request, case.model)
    events = case.answer.events()
    got = client.got(events, first.prefix, stream=case.streams)
    if got is None:
        assert case.answer.reason is None
        return
    handed_out(case.answer, got, client)
    memory = RememberedAnswers(InMemoryAnswers(2**20, 60.0))
    if case.remembers:
        remember(memory, first.prefix, events, case.model)
    second = client.decoded(client.second(got))
    recall = memory.of("me", 0.0)
    composition = composed(second.request, case.model, remembered=recall)
    named = (*second.named, *composition.adjusted, *composition.ignored)
    body = upstream(composition.body, case.model)
    made = [Signature(case.model, "")]
    issued = Issued(signatures={SIGNATURE: made, REDACTED: made})
    known = without_unknown(body)
    broken = violations(known, betas=SENT, issued=issued, prefix_check=False)
    assert not broken, broken
    held(got, body, named)


def remember(
    memory: RememberedAnswers, prefix: str, events: Events, model: str
) -> None:
    """Remember an answer with calls, as a completion does."""
    builder = MessageBuilder()
    for batch in events:
        builder.receive(batch)
    if builder.is_whole and any(isinstance(b.value, ToolUse) for b in builder.blocks):
        memory.remember("me", prefix, builder.blocks, model, 0.0)


def without_unknown(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with a text for each block of a type that the rules do not know."""
    text = {"type": "text", "text": "unknown"}
    known = []
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, list):
            content = [text if b["type"] == UNKNOWN["type"] else b for b in content]
        known.append({**message, "content": content})
    return {**body, "messages": known}
