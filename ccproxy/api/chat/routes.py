"""The routes of chat completions."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.chat.response import ChatDocument, ChatStream, CompletionMeta
from ccproxy.api.common.answering import CompletionRunner
from ccproxy.web.backend import Backend
from ccproxy.web.context import RequestContext
from ccproxy.web.replies import set_question_headers
from ccproxy.web.routing import Router


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
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._router = router
        self._backend = backend
        self._answering = CompletionRunner(backend, clock)
        self._wall_seconds = wall_seconds
        router.add("POST", "/chat/completions", self._create)

    async def _create(self, context: RequestContext) -> bytes | None:
        call = decode_chat(self._router.body(context))
        question = await self._backend.prepare(call.request, owner=context.key)
        meta = CompletionMeta(
            id=f"chatcmpl-{context.hex}",
            created=int(self._wall_seconds()),
            prefix=question.prefix,
        )
        set_question_headers(
            context.request,
            question,
            effort=call.effort,
            ignored=call.ignored,
            adjusted=call.adjusted,
        )
        if call.stream:
            about = (call.choices, call.include_usage, call.forms)
            encoder = ChatStream(meta, *about)
            await self._answering.stream(
                context, question, encoder, choices=call.choices
            )
            return None
        document = ChatDocument(meta, call.choices, call.forms)
        return await self._answering.document(
            context, question, document, choices=call.choices
        )
