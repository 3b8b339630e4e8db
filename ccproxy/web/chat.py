"""The routes of chat completions."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ccproxy.conversation import Prompt
from ccproxy.dialects.chat_answer import ChatDocument, ChatStream, Heading
from ccproxy.dialects.chat_request import decode_chat
from ccproxy.web.backend import Backend, collect, prepare
from ccproxy.web.event_stream import EventStream
from ccproxy.web.exchange import Exchange
from ccproxy.web.policy import Policy
from ccproxy.web.response import json_response, tell_effort, tell_ignored, tell_queue
from ccproxy.web.router import Router


class ChatRoutes:
    """``POST /chat/completions``.

    Args:
        wall_seconds: Unix time, for ``created``.
    """

    def __init__(
        self,
        *,
        router: Router,
        backend: Backend,
        policy: Policy,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._router = router
        self._backend = backend
        self._policy = policy
        self._clock = clock
        self._wall_seconds = wall_seconds
        router.add("POST", "/chat/completions", self._create)

    async def _create(self, exchange: Exchange) -> bytes | None:
        call = decode_chat(
            self._router.body(exchange),
            forward_sampling=self._policy.forward_sampling,
            web_search=self._policy.web_search,
        )
        heading = Heading(
            id=f"chatcmpl-{exchange.hex}", created=int(self._wall_seconds())
        )
        prompt = await prepare(self._backend, call.prompt)
        tell_ignored(exchange.request, call.ignored)
        tell_effort(exchange.request, call.effort, prompt.effort)
        if call.stream:
            about = (call.choices, call.include_usage, call.forms)
            encoder = ChatStream(heading, *about)
            await self._stream(exchange, prompt, call.choices, encoder)
            return None
        document = ChatDocument(heading, call.choices, call.forms)
        return await self._collect(exchange, prompt, call.choices, document)

    async def _stream(
        self, exchange: Exchange, prompt: Prompt, choices: int, encoder: ChatStream
    ) -> None:
        request, receipt = exchange.request, exchange.receipt
        stream = EventStream(request, encoder, self._clock, receipt)
        with exchange.following(encoder), exchange.streaming():
            await stream.run(self._backend, prompt, choices)

    async def _collect(
        self, exchange: Exchange, prompt: Prompt, choices: int, document: ChatDocument
    ) -> bytes:
        with exchange.following(document):
            queued = await collect(
                self._backend, prompt, choices, document, exchange.receipt
            )
        tell_queue(exchange.request, queued)
        return json_response(exchange.request, document.encode())
