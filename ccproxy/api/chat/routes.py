"""The routes of chat completions."""

from collections.abc import Callable

from klein import Klein

from ccproxy.api.chat.request import ChatRequest, decode_chat
from ccproxy.api.chat.response import ChatDocument, ChatStream, CompletionMeta
from ccproxy.api.chat.schemas import ChatCompletion, ChatCompletionChunk
from ccproxy.api.common.answering import CompletionRunner
from ccproxy.core.backend import Backend
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.operation import MODEL_ERRORS, Operation, json_or_events
from ccproxy.web.replies import set_question_headers
from ccproxy.web.routing import Routes, add_error_handlers, route


class ChatRoutes(Routes):
    """``POST /chat/completions``.

    Args:
        services: what every request needs.
        backend: answers the requests.
        wall_seconds: Unix time, for ``created``.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        backend: Backend,
        wall_seconds: Callable[[], float],
    ) -> None:
        super().__init__(services)
        self._backend = backend
        self._runner = CompletionRunner(backend, services.clock)
        self._wall_seconds = wall_seconds

    @route(
        _app,
        "/chat/completions",
        methods=["POST"],
        operation=Operation(
            id="createChatCompletion",
            tag="chat",
            summary="create an answer, streamed or not",
            description=(
                "Each event of a stream is `data: ` and a `Chunk`. The last event is "
                "`data: [DONE]`, or `data: ` and an `Error` if the stream fails. "
                "Comments are sent while there is no event."
            ),
            request=ChatRequest,
            responses=(
                json_or_events(
                    ChatCompletion, "an event for each chunk.", ChatCompletionChunk
                ),
            ),
            errors=MODEL_ERRORS,
        ),
    )
    async def create(self, context: RequestContext) -> bytes | None:
        """Answer a conversation."""
        call = decode_chat(context.body())
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
            about = (call.choices, call.include_usage, call.call_format)
            encoder = ChatStream(meta, *about)
            await self._runner.stream(context, question, encoder)
            return None
        document = ChatDocument(meta, call.choices, call.call_format)
        return await self._runner.document(context, question, document)
