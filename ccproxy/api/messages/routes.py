"""The routes of the Messages API."""

import msgspec
from attrs import evolve
from klein import Klein

from ccproxy.api.messages.request import (
    BETA_HEADER,
    DecodedMessagesRequest,
    decode_messages,
    with_betas,
)
from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import (
    CreateMessageRequest,
    MessageMeta,
    MessageObject,
    MessageTokensCount,
)
from ccproxy.api.messages.stream import MessageStream
from ccproxy.core.errors import ThreadsUnsupported
from ccproxy.web.completion_group import collect
from ccproxy.web.context import RequestContext
from ccproxy.web.error_formats import ANTHROPIC
from ccproxy.web.event_stream import PING, EventStream
from ccproxy.web.operation import (
    COUNT_DESCRIPTION,
    COUNT_ERRORS,
    MODEL_ERRORS,
    Operation,
    json_or_events,
    json_response_spec,
)
from ccproxy.web.replies import (
    json_response,
    refuse_ignored,
    set_count_headers,
    set_question_headers,
)
from ccproxy.web.routing import Routes, add_error_handlers, route


class MessagesRoutes(Routes):
    """``POST /messages`` and ``POST /messages/count_tokens``."""

    _app = Klein()
    add_error_handlers(_app)

    @route(
        _app,
        "/messages",
        methods=["POST"],
        operation=Operation(
            id="createMessage",
            tag="messages",
            summary="create an answer in Anthropic's format, streamed or not",
            description=(
                "A stream has Anthropic's events. If it fails, it ends with `error`."
            ),
            request=CreateMessageRequest,
            responses=(json_or_events(MessageObject, "the events of the answer."),),
            errors=(*MODEL_ERRORS, ThreadsUnsupported),
            error_formats=(ANTHROPIC,),
        ),
    )
    async def create(self, context: RequestContext) -> bytes | None:
        """Answer a conversation."""
        decoded = await context.decoded(self._decode)
        betas = context.request.requestHeaders.getRawHeaders(BETA_HEADER, [])
        question = await self.services.backend.prepare(
            with_betas(decoded.request, betas), owner=context.key
        )
        context.request.setHeader("request-id", context.id)
        if self.services.is_strict:
            refuse_ignored([*decoded.ignored, *question.ignored])
        set_question_headers(
            context.request,
            question,
            effort=decoded.request.effort,
            ignored=decoded.ignored,
            adjusted=decoded.adjusted,
        )
        meta = MessageMeta(id=f"msg_{context.hex}", request_id=context.id)
        thinking = decoded.thinking
        if question.thinks_by_name:
            thinking = evolve(thinking, is_shown=True)
        if decoded.stream:
            encoder = MessageStream(meta, thinking)
            await EventStream(context, encoder, keep_alive=PING).run(question)
            return None
        document = MessageDocument(meta, thinking)
        await collect(context, question, document)
        return json_response(context.request, document.encode())

    @route(
        _app,
        "/messages/count_tokens",
        methods=["POST"],
        operation=Operation(
            id="countTokens",
            tag="messages",
            summary="the number of input tokens of a request, without an answer",
            description=COUNT_DESCRIPTION,
            request=CreateMessageRequest,
            responses=(json_response_spec(MessageTokensCount),),
            errors=(*COUNT_ERRORS, ThreadsUnsupported),
            error_formats=(ANTHROPIC,),
        ),
    )
    async def count_tokens(self, context: RequestContext) -> bytes:
        """Count the input tokens of a request."""
        decoded = await context.decoded(self._decode)
        context.request.setHeader("request-id", context.id)
        if self.services.is_strict:
            refuse_ignored(decoded.ignored)
        count = await self.services.backend.count(decoded.request, owner=context.key)
        set_count_headers(context.request, count, decoded.ignored, decoded.adjusted)
        return json_response(
            context.request, msgspec.json.encode(MessageTokensCount(count.tokens))
        )

    def _decode(self, body: bytes) -> DecodedMessagesRequest:
        return decode_messages(body, repairs=self.services.repairs_histories)
