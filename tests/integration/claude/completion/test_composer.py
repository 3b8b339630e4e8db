"""Requests that are composed without blocking the reactor."""

from collections.abc import Generator, Sequence
from threading import get_ident
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from typing_extensions import override

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.options import ComposeOptions
from ccproxy.claude.completion.composer import BodyComposer
from ccproxy.claude.models import Catalogue
from ccproxy.core.backend import LARGE_BYTES
from ccproxy.core.messages import Message, MessagesRequest

_REACTOR: Any = reactor


class NoAnswers:
    """A store without answers."""

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        raise AssertionError

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        return ()


@define
class WatchedAnswers(RememberedAnswers):
    """Notes the threads in which messages are read."""

    threads: list[int] = field(factory=list)

    @override
    def missing_keys(
        self, owner: str, messages: Sequence[Message], now: float
    ) -> Generator[None, None, list[tuple[str, str]]]:
        self.threads.append(get_ident())
        return (yield from RememberedAnswers.missing_keys(self, owner, messages, now))


@pytest.mark.threads
@ensureDeferred
async def test_a_large_request_is_read_in_a_thread() -> None:
    answers = WatchedAnswers(InMemoryAnswers(2**20, 60), shared=NoAnswers())
    catalogue = Catalogue("sonnet", (), 0)
    composer = BodyComposer(catalogue, answers, ComposeOptions(), _REACTOR)
    message = Message("user", "x", "messages[0]")
    for size_bytes in (LARGE_BYTES, LARGE_BYTES + 1):
        request = MessagesRequest(messages=(message,), size_bytes=size_bytes)
        await composer.compose(request, model="sonnet", owner="a")
    small, large = answers.threads
    assert small == get_ident() != large
