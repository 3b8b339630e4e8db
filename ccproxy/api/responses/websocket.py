"""Responses over a WebSocket, one after the other.

A client's message must have the type ``response.create`` and the fields of ``POST
/responses``, except ``background``. With ``generate: false``, the request is not sent
to the model, but the next request can continue it. Every other message gets an
``error`` with ``invalid_request``.

The connection remembers its last response, so that a client can continue the response
even if it is not stored. If the request that continues it fails, the response is
forgotten.

Source: Open Responses, "WebSocket Transport".
"""

from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec
from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.api.common.decoding import decode_json, read_body
from ccproxy.api.responses.input.request import (
    DecodedResponsesRequest,
    decode_responses,
)
from ccproxy.api.responses.lifecycle.turns import (
    PreparedResponse,
    PreviousResponse,
    ResponseBuilder,
    remembered,
)
from ccproxy.core.encoding import WireEvent
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    ConnectionLimitReached,
    InternalError,
    InvalidRequest,
    StorageFailed,
)
from ccproxy.core.stream import Event, Finished
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.context import RequestIdentity
from ccproxy.web.error_formats import socket_error
from ccproxy.web.memory import HeldMemory
from ccproxy.web.observer import AnswerStats
from ccproxy.web.websocket import SocketTooOld, WebSocket

_CREATE = "response.create"
_SOCKET = "websocket"
_SWITCHING_PROTOCOLS = 101


class _Message(msgspec.Struct):
    type: str | None = None
    generate: bool | None = None
    background: bool | None = None


_decoder = msgspec.json.Decoder(_Message)


class ResponseSocket:
    """Answers the requests of one WebSocket.

    Args:
        socket: the WebSocket.
        turns: prepares and stores the responses.
        clock: a monotonic clock.
        identity: the labels of the handshake request.
    """

    _log = Logger()

    def __init__(
        self,
        socket: WebSocket,
        turns: ResponseBuilder,
        clock: IReactorTime,
        identity: RequestIdentity,
        memory: HeldMemory,
    ) -> None:
        self._socket = socket
        self._turns = turns
        self._clock = clock
        self._identity = evolve(identity, route=f"{identity.route} {_SOCKET}")
        self._last: PreviousResponse | None = None
        self._memory = memory

    async def run(self) -> None:
        """Answer messages until the connection ends."""
        while True:
            try:
                text = await self._socket.receive()
            except SocketTooOld:
                self._send_error(
                    ConnectionLimitReached(
                        "this connection has reached its age limit; open a new "
                        "connection, and continue a stored response or send the whole "
                        "conversation"
                    )
                )
                return
            # Otherwise answers to a peer that does not read would fill the memory.
            await self._socket.writable()
            await self._answer(text.encode())

    async def _answer(self, message: bytes) -> None:
        began_seconds = self._clock.seconds()
        identifier = uuid4().hex
        outcome, turn, stats = "ok", None, AnswerStats(self._clock.seconds)
        cause: Cause | None = None
        try:
            self._hold(len(message))
            call, generates = await self._turns.large_work.run(
                len(message), self._decode, message
            )
            last = self._continued(call)
            try:
                turn = await self._turns.prepare(
                    call,
                    identifier,
                    last,
                    owner=self._identity.key,
                    memory=self._memory,
                    remembers=True,
                )
                await self._run(turn, generates, stats)
            except Exception:
                self._forget(call)
                raise
            error = turn.encoder.error
            if error is not None:
                outcome, cause = error.code, error.cause
                self._forget(call)
            else:
                self._last = remembered(turn)
        except CancelledError:
            outcome = "client_gone"
            raise
        except CCProxyError as error:
            outcome, cause = error.code, error.cause
            self._send_error(error)
        except Exception:  # noqa: BLE001  # whatever it is, the turn must end
            outcome = InternalError.code
            self._log.failure("{id} failed", id=identifier)
            self._send_error(
                InternalError(
                    f"the proxy has a bug; its log has the details under {identifier}"
                )
            )
        finally:
            self._hold(0, is_there=True)
            self._log_end(identifier, outcome, cause, turn, stats, began_seconds)

    def _hold(self, message_bytes: int, *, is_there: bool = False) -> None:
        """Hold the memory for the last response, and for a message."""
        last_bytes = 0 if self._last is None else self._last.size_bytes
        self._memory.set(last_bytes + message_bytes, is_there=is_there)

    def _decode(self, message: bytes) -> tuple[DecodedResponsesRequest, bool]:
        about = decode_json(_decoder, read_body(message)[0])
        if about.type != _CREATE:
            raise InvalidRequest(
                f"`type`: {_CREATE!r} is the only type of message", param="type"
            )
        if about.background:
            raise InvalidRequest(
                "`background` is not supported over a WebSocket; use POST /responses",
                param="background",
            )
        call = decode_responses(message)
        return call, about.generate is not False

    def _continued(self, call: DecodedResponsesRequest) -> PreviousResponse | None:
        last = self._last
        is_last = last is not None and last.id == call.echo.previous_response_id
        return last if is_last else None

    def _forget(self, call: DecodedResponsesRequest) -> None:
        if self._continued(call) is not None:
            self._last = None

    async def _run(
        self, turn: PreparedResponse, generates: bool, stats: AnswerStats
    ) -> None:
        sent: list[WireEvent] = []
        keeps = turn.call.echo.store

        def send(events: Sequence[WireEvent]) -> None:
            if keeps:
                sent.extend(events)
            for event in events:
                self._socket.send(event.data)

        if generates:
            await self._generate(turn, send, stats)
        else:
            nothing = Finished("end_turn")
            send(turn.encoder.encode([nothing]))
        # Over a WebSocket, `error` would end the response. The client gets the error in
        # `response.failed`.
        turn.encoder.has_error_event = False
        end = turn.encoder.conclude()
        try:
            await self._turns.keep(turn, [*sent, *end])
        except StorageFailed as error:
            end = turn.encoder.conclude(error)
        send(end)

    async def _generate(
        self,
        turn: PreparedResponse,
        send: Callable[[Sequence[WireEvent]], None],
        stats: AnswerStats,
    ) -> None:
        encoder = turn.encoder
        has_sent = False

        def receive(events: Sequence[Event]) -> None:
            nonlocal has_sent
            encoded = encoder.encode(events)
            if not fails_at_once():
                has_sent = has_sent or bool(encoded)
                send(encoded)

        def fails_at_once() -> bool:
            # If nothing was sent, an `error` message is the whole answer.
            return encoder.error is not None and not has_sent

        group = CompletionGroup(
            [receive], lambda: encoder.is_over or fails_at_once(), stats
        )
        self._socket.on_pause, self._socket.on_resume = group.pause, group.resume
        if self._socket.is_paused:
            group.pause()
        try:
            await group.run(self._turns.backend, turn.question)
        finally:
            self._socket.on_pause = self._socket.on_resume = lambda: None
        if encoder.error is not None and not has_sent:
            raise encoder.error

    def _send_error(self, error: CCProxyError) -> None:
        self._socket.send(socket_error(error))

    def _log_end(
        self,
        identifier: str,
        outcome: str,
        cause: Cause | None,
        turn: PreparedResponse | None,
        stats: AnswerStats,
        began_seconds: float,
    ) -> None:
        seconds = self._clock.seconds() - began_seconds
        model = turn.encoder.model if turn is not None else ""
        evolve(self._identity, id=identifier).ended(
            status=_SWITCHING_PROTOCOLS,
            outcome=outcome,
            cause=cause,
            seconds=seconds,
            model=model,
            stats=stats,
        )
