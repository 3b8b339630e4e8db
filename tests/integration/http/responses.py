"""Requests of the Responses API for the tests over HTTP."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from ccproxy.core.blocks import Text
from ccproxy.core.stream import (
    Event,
    MessageStart,
)
from tests.integration.http.conftest import HTTP
from tests.support.backend import ScriptedRequest
from tests.support.waiting import until

START = MessageStart("test-model")


async def get(http: HTTP, path: str, code: int = 200, **options: Any) -> Any:
    return await ask(http, "GET", path, code, **options)


async def ask(
    http: HTTP, method: str, path: str, code: int = 200, **options: Any
) -> Any:
    response = await http.request(method, path, **options)
    document = await response.json()
    assert response.code == code, document
    return document


async def create(http: HTTP, text: str = "hello", **fields: Any) -> Any:
    """A response that is over."""
    count = len(http.backend.asks)
    pending = Deferred.fromCoroutine(
        ask(http, "POST", "/v1/responses", json={"input": text, **fields})
    )
    await until(lambda: len(http.backend.asks) > count or pending.called)
    if not pending.called:
        http.backend.asks[-1].answer(f"re: {text}")
    return await pending


async def streamed(http: HTTP, *told: Event) -> str:
    """The whole stream of an answer that is told."""
    count = len(http.backend.asks)
    body = {"input": "hello", "stream": True}
    pending = http.request("POST", "/v1/responses", json=body)
    await until(lambda: len(http.backend.asks) > count)
    # One by one, so that nothing is told in one piece.
    for event in told:
        http.backend.asks[-1].tell(event)
    text: str = await (await pending).text()
    return text


def turns(asked: ScriptedRequest) -> Sequence[tuple[str, list[str]]]:
    """What was asked: roles and texts."""
    return [
        (m.role, [b.value.text for b in m.blocks if isinstance(b.value, Text)])
        for m in asked.request.messages
    ]
