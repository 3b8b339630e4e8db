"""The routes of Responses: ``/responses``, and all routes below it."""

from collections.abc import Sequence

import msgspec
from attrs import evolve
from klein import Klein

from ccproxy.api.responses import operations
from ccproxy.api.responses.compaction import (
    SUMMARY_INSTRUCTION,
    check_model,
    compaction_document,
    compaction_item,
    has_calls,
    summary_request,
    without_calls,
)
from ccproxy.api.responses.input.items import INCLUDE_ENCRYPTED
from ccproxy.api.responses.input.request import (
    DecodedResponsesRequest,
    decode_responses,
)
from ccproxy.api.responses.lifecycle.background import (
    BackgroundResponse,
    BackgroundResponses,
)
from ccproxy.api.responses.lifecycle.event_log import EventLog, EventLogReader
from ccproxy.api.responses.lifecycle.replay import ResponseReplay
from ccproxy.api.responses.lifecycle.stored import deleted, item_list, shown_response
from ccproxy.api.responses.lifecycle.turns import PreparedResponse, ResponseBuilder
from ccproxy.api.responses.output.resource import InputTokens, output_text
from ccproxy.api.responses.output.response import ResponseDocument
from ccproxy.api.responses.websocket import ResponseSocket
from ccproxy.config.api_settings import APISettings
from ccproxy.core.encoding import DONE, WireEvent
from ccproxy.core.errors import (
    Cause,
    ClaudeFailed,
    InvalidRequest,
    NotFound,
    StorageFailed,
)
from ccproxy.core.messages import MessagesRequest
from ccproxy.store.records import StoredResponse, UnknownItem
from ccproxy.store.responses import ResponseStore
from ccproxy.web import query
from ccproxy.web.completion_group import collect
from ccproxy.web.context import RequestContext, RequestIdentity, RequestServices
from ccproxy.web.event_stream import EventStream
from ccproxy.web.replies import (
    json_response,
    set_count_headers,
    set_question_headers,
)
from ccproxy.web.routing import Routes, add_error_handlers, route
from ccproxy.web.upgrade import serve_websocket
from ccproxy.web.websocket import GOING_AWAY, SocketLimits, WebSocket

_LARGEST_SEQUENCE_NUMBER = 10**9


class ResponsesRoutes(Routes):
    """The routes of Responses.

    Args:
        services: the services for the `RequestContext` of each request.
        turns: prepares and stores responses.
        jobs: runs background responses.
        stored: the store of responses.
        settings: the settings of the routes.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        turns: ResponseBuilder,
        jobs: BackgroundResponses,
        stored: ResponseStore,
        settings: APISettings,
    ) -> None:
        super().__init__(services)
        self._turns = turns
        self._jobs = jobs
        self._stored = stored
        self._settings = settings
        self._clock = services.clock
        self._replay = ResponseReplay(stored, jobs, services.clock, services.large_work)
        self._sockets: set[WebSocket] = set()

    @route(_app, "/responses", methods=["POST"], operation=operations.CREATE)
    async def create(self, context: RequestContext) -> bytes | None:
        """Answer a conversation."""
        call = await context.decoded(decode_responses)
        owner = context.identity.key
        turn = await self._turns.prepare(
            call, context.hex, owner=owner, memory=context.memory
        )
        _set_headers(context, turn, call.echo.effort)
        if call.echo.background:
            job = await self._jobs.start(
                turn, context.identity, context.memory.hand_over()
            )
            if not call.stream:
                return json_response(context.request, _shown(job, call))
            with context.streaming():
                await EventLogReader(context.request, self._clock, job.event_log).run()
            return None
        if call.stream:
            await self._stream(context, turn)
            return None
        return await self._collect(context, turn)

    @route(_app, "/responses", methods=["GET"], operation=operations.CONNECT)
    async def connect(self, context: RequestContext) -> None:
        """Accept a WebSocket, and serve it."""
        limits = SocketLimits(message_bytes=self._settings.max_body)
        identity = context.identity

        async def talk(socket: WebSocket) -> None:
            with context.streaming():
                await self._talk(socket, identity)

        await serve_websocket(
            context.request,
            talk,
            limits,
            self.services.cors,
            self._clock,
            context.memory,
        )

    async def _talk(self, socket: WebSocket, identity: RequestIdentity) -> None:
        self._sockets.add(socket)
        memory = self.services.memory.holder()
        talk = ResponseSocket(socket, self._turns, self._clock, identity, memory)
        try:
            await talk.run()
        finally:
            memory.release()
            self._sockets.discard(socket)

    def close_sockets(self) -> None:
        """Close all WebSockets, because the server stops."""
        for socket in tuple(self._sockets):
            socket.close(GOING_AWAY, "the proxy is being stopped")

    async def _stream(self, context: RequestContext, turn: PreparedResponse) -> None:
        event_log = EventLog()

        async def conclude() -> Sequence[WireEvent]:
            end = turn.encoder.conclude()
            try:
                await self._turns.keep(turn, [*event_log.events, *end])
            except StorageFailed as error:
                end = turn.encoder.conclude(error)
            return [*end, DONE]

        stream = EventStream(
            context,
            turn.encoder,
            conclude=conclude,
            record=event_log.record if turn.call.echo.store else None,
        )
        await stream.run(turn.question)

    async def _collect(self, context: RequestContext, turn: PreparedResponse) -> bytes:
        document = ResponseDocument(turn.encoder)
        await collect(context, turn.question, document)
        end = turn.encoder.conclude()
        await self._turns.keep(turn, [*document.wire_events, *end])
        return json_response(context.request, document.encode())

    @route(_app, "/responses/compact", methods=["POST"], operation=operations.COMPACT)
    async def compact(self, context: RequestContext) -> bytes:
        """Summarize a conversation."""
        call = await context.decoded(decode_responses)
        check_model(call.request.model)
        turn = await self._summary(context, call, summary_request(call.request))
        usage = turn.encoder.usage
        if has_calls(turn.encoder.output):
            again = without_calls(summary_request(call.request))
            turn = await self._summary(context, call, again)
            usage += turn.encoder.usage
        if turn.encoder.response.status != "completed":
            raise ClaudeFailed(
                "the model's summary was cut short; try again", cause=Cause.NO_SUMMARY
            )
        encryptor = await self._turns.encryptor()
        item = compaction_item(context.hex, output_text(turn.encoder.output), encryptor)
        return json_response(
            context.request,
            compaction_document(context.hex, item, self._turns.now, usage),
        )

    async def _summary(
        self,
        context: RequestContext,
        call: DecodedResponsesRequest,
        request: MessagesRequest,
    ) -> PreparedResponse:
        """Ask the model for a summary, with a request of `summary_request`."""
        turn = await self._turns.prepare(
            evolve(call, request=request),
            context.hex,
            closing=SUMMARY_INSTRUCTION,
            owner=context.identity.key,
            memory=context.memory,
        )
        _set_headers(context, turn, None)
        await collect(context, turn.question, ResponseDocument(turn.encoder))
        return turn

    @route(
        _app,
        "/responses/input_tokens",
        methods=["POST"],
        operation=operations.INPUT_TOKENS,
    )
    async def input_tokens(self, context: RequestContext) -> bytes:
        """Count the input tokens of a request."""
        call = await context.decoded(decode_responses)
        whole = await self._turns.whole_request(call, context.memory)
        count = await self.services.backend.count(whole.request, owner=context.key)
        set_count_headers(
            context.request,
            count,
            (*call.ignored, *whole.ignored),
            (*call.adjusted, *whole.adjusted),
        )
        document = msgspec.json.encode(InputTokens(count.tokens))
        return json_response(context.request, document)

    @route(_app, "/responses/<name>", methods=["GET"], operation=operations.RETRIEVE)
    async def retrieve(self, context: RequestContext, name: str) -> bytes | None:
        """Return a response, or its event stream."""
        request = context.request
        after = query.number(request, "starting_after", 0, _LARGEST_SEQUENCE_NUMBER)
        shows_encrypted = query.includes(request, INCLUDE_ENCRYPTED)
        if query.boolean(request, "stream"):
            with context.streaming():
                is_there = await self._replay.play(
                    request,
                    name,
                    -1 if after is None else after,
                    context.memory,
                )
            if not is_there:
                raise _not_found(name)
            return None
        if after is not None:
            raise InvalidRequest(
                "`starting_after` needs `stream=true`", param="starting_after"
            )
        job = self._jobs.get(name)
        if job is not None:
            document, status = job.document, job.response.status
        else:
            kept = await self._kept(name)
            document, status = kept.document, kept.status
        shown = await context.encoded(
            [document],
            lambda: shown_response(document, status, shows_encrypted=shows_encrypted),
        )
        return json_response(request, shown)

    async def _kept(self, name: str) -> StoredResponse:
        kept = await self._stored.get(name)
        if kept is None:
            raise _not_found(name)
        return kept

    @route(_app, "/responses/<name>", methods=["DELETE"], operation=operations.DELETE)
    async def delete(self, context: RequestContext, name: str) -> bytes:
        """Delete a response."""
        job = self._jobs.get(name)
        if job is not None:
            await self._jobs.cancel(job)
        if not await self._stored.delete(name):
            raise _not_found(name)
        return json_response(context.request, deleted(name, "response"))

    @route(
        _app, "/responses/<name>/cancel", methods=["POST"], operation=operations.CANCEL
    )
    async def cancel(self, context: RequestContext, name: str) -> bytes:
        """Cancel a background response."""
        job = self._jobs.get(name)
        if job is not None:
            await self._jobs.cancel(job)
            return json_response(context.request, _shown(job, job.turn.call))
        kept = await self._kept(name)
        if not kept.is_background:
            raise InvalidRequest(
                f"the response {name!r} is not a background response; to cancel it, "
                "close its connection"
            )
        kept = await self._stored.cancel(name) or kept
        shown = await context.encoded(
            [kept.document],
            lambda: shown_response(kept.document, kept.status, shows_encrypted=False),
        )
        return json_response(context.request, shown)

    @route(
        _app,
        "/responses/<name>/input_items",
        methods=["GET"],
        operation=operations.INPUT_ITEMS,
    )
    async def input_items(self, context: RequestContext, name: str) -> bytes:
        """Return the input items of a response, in pages."""
        after, limit, descending = query.page(context.request)
        try:
            page = await self._stored.input_items(
                name, after=after, limit=limit, descending=descending
            )
        except UnknownItem:
            raise query.unknown_item(after) from None
        if page is None:
            raise _not_found(name)
        shows_encrypted = query.includes(context.request, INCLUDE_ENCRYPTED)
        items = [(item.id, item.document) for item in page.items]
        shown = await context.encoded(
            [item.document for item in page.items],
            lambda: item_list(
                items, has_more=page.has_more, shows_encrypted=shows_encrypted
            ),
        )
        return json_response(context.request, shown)


def _set_headers(
    context: RequestContext, turn: PreparedResponse, effort: str | None
) -> None:
    set_question_headers(
        context.request,
        turn.question,
        effort=effort,
        ignored=turn.call.ignored,
        adjusted=turn.call.adjusted,
    )


def _shown(job: BackgroundResponse, call: DecodedResponsesRequest) -> bytes:
    return shown_response(
        job.document,
        job.response.status,
        shows_encrypted=call.echo.shows_encrypted,
    )


def _not_found(name: str) -> NotFound:
    return NotFound(
        f"there is no response {name!r} here: it was not stored (`store: false`), was "
        "deleted, or belongs to another server"
    )
