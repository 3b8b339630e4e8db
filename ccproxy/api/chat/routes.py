"""The routes of chat completions."""

from klein import Klein

from ccproxy.api.chat.request import ChatRequest, decode_chat
from ccproxy.api.chat.response import ChatDocument, ChatStream, CompletionMeta
from ccproxy.api.chat.schemas import ChatCompletion, ChatCompletionChunk
from ccproxy.web.completion_group import collect
from ccproxy.web.context import RequestContext
from ccproxy.web.event_stream import EventStream
from ccproxy.web.operation import MODEL_ERRORS, Operation, json_or_events
from ccproxy.web.replies import json_response, set_question_headers
from ccproxy.web.routing import Routes, add_error_handlers, route


class ChatRoutes(Routes):
    """``POST /chat/completions``."""

    _app = Klein()
    add_error_handlers(_app)

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
        decoded = await context.decoded(decode_chat)
        question = await self.services.backend.prepare(
            decoded.request, owner=context.key
        )
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
