"""The routes of chat completions."""

from attrs import evolve
from klein import Klein

from ccproxy.api.chat.request import ChatRequest, DecodedChatRequest, decode_chat
from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.schemas import ChatCompletion, ChatCompletionChunk
from ccproxy.api.chat.stream import ChatStream
from ccproxy.web.completion_group import collect
from ccproxy.web.context import RequestContext
from ccproxy.web.event_stream import EventStream
from ccproxy.web.operation import MODEL_ERRORS, Operation, json_or_events
from ccproxy.web.replies import json_response, refuse_ignored, set_question_headers
from ccproxy.web.routing import Routes, add_error_handlers, route

_WORDS = (
    "Each event of a stream is `data: ` and a `Chunk`. The last event is "
    "`data: [DONE]`, or `data: ` and an `Error` if the stream fails. "
    "While there is no event, comments are sent to keep the connection open."
)


def _operation(operation_id: str, summary: str) -> Operation:
    return Operation(
        id=operation_id,
        tag="chat",
        summary=summary,
        description=_WORDS,
        request=ChatRequest,
        responses=(
            json_or_events(
                ChatCompletion, "an event for each chunk.", ChatCompletionChunk
            ),
        ),
        errors=MODEL_ERRORS,
    )


class ChatRoutes(Routes):
    """``POST /chat/completions``, and the path that Azure's clients use for it."""

    _app = Klein()
    add_error_handlers(_app)

    @route(
        _app,
        "/chat/completions",
        methods=["POST"],
        operation=_operation(
            "createChatCompletion", "create an answer, streamed or not"
        ),
    )
    async def create(self, context: RequestContext) -> bytes | None:
        """Answer a conversation."""
        return await self._answer(context, await context.decoded(self._decode))

    @route(
        _app,
        "/deployments/<path:model>/chat/completions",
        methods=["POST"],
        operation=_operation(
            "createDeploymentChatCompletion",
            "the same, for clients of Azure: the path names the model",
        ),
    )
    async def create_in_deployment(
        self, context: RequestContext, model: str
    ) -> bytes | None:
        """Answer a conversation. As on Azure, the body's ``model`` is ignored.

        Args:
            context: the request.
            model: the model's name from the path.
        """
        decoded = await context.decoded(self._decode)
        request = evolve(decoded.request, model=model)
        return await self._answer(context, evolve(decoded, request=request))

    def _decode(self, body: bytes) -> DecodedChatRequest:
        return decode_chat(body, repairs=self.services.repairs_histories)

    async def _answer(
        self, context: RequestContext, decoded: DecodedChatRequest
    ) -> bytes | None:
        question = await self.services.backend.prepare(
            decoded.request, owner=context.key
        )
        if self.services.is_strict:
            refuse_ignored([*decoded.ignored, *question.ignored])
        meta = CompletionMeta(
            id=f"chatcmpl-{context.hex}",
            created=int(self.services.wall_seconds()),
            prefix=question.prefix,
        )
        set_question_headers(
            context.request,
            question,
            effort=decoded.effort,
            ignored=decoded.ignored,
            adjusted=decoded.adjusted,
        )
        if decoded.stream:
            about = (decoded.choices, decoded.include_usage, decoded.call_format)
            encoder = ChatStream(meta, *about)
            await EventStream(context, encoder).run(question)
            return None
        document = ChatDocument(meta, decoded.choices, decoded.call_format)
        await collect(context, question, document)
        return json_response(context.request, document.encode())
