"""The routes of the Messages API."""

from twisted.internet.interfaces import IReactorTime

from ccproxy.api.common.answering import CompletionRunner
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import MessageMeta
from ccproxy.api.messages.stream import MessageStream
from ccproxy.core.errors import NotSupported
from ccproxy.web.backend import Backend
from ccproxy.web.context import RequestContext
from ccproxy.web.replies import set_question_headers
from ccproxy.web.routing import Router


class MessagesRoutes:
    """``POST /messages``, as Anthropic's clients send it."""

    def __init__(
        self, *, router: Router, backend: Backend, clock: IReactorTime
    ) -> None:
        self._router = router
        self._backend = backend
        self._answering = CompletionRunner(backend, clock)
        router.add("POST", "/messages", self._create)
        router.add("POST", "/messages/count_tokens", self._count)

    async def _create(self, context: RequestContext) -> bytes | None:
        call = decode_messages(self._router.body(context))
        question = await self._backend.prepare(call.request, owner=context.key)
        context.request.setHeader("request-id", context.id)
        set_question_headers(
            context.request,
            question,
            effort=call.request.effort,
            ignored=call.ignored,
            adjusted=call.adjusted,
        )
        meta = MessageMeta(id=f"msg_{context.hex}", request_id=context.id)
        if call.stream:
            encoder = MessageStream(meta, call.thinking)
            await self._answering.stream(context, question, encoder)
            return None
        document = MessageDocument(meta, call.thinking)
        return await self._answering.document(context, question, document)

    async def _count(self, context: RequestContext) -> bytes:
        raise NotSupported(
            "the claude CLI does not tell how many tokens a request has before it is "
            "answered; the answer's `usage` does"
        )
