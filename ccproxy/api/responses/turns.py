"""One turn of Responses: its conversation put together, its answer kept.

What comes before a request may be in the store, in a conversation, or with a
WebSocket; whoever runs the turn then asks the backend and calls `ResponseBuilder.keep`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import evolve, frozen

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.listing import documents
from ccproxy.api.responses.request import (
    Context,
    DecodedResponsesRequest,
    context_of,
    request_of,
)
from ccproxy.api.responses.resource import response_id
from ccproxy.api.responses.stored import encode_events, kept_response
from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import (
    InvalidRequest,
    NotFound,
    PreviousResponseNotFound,
    StorageFailed,
)
from ccproxy.core.question import PreparedQuestion
from ccproxy.store.records import FinalResponse, Item, NewResponse, ResponseChain
from ccproxy.store.store import Store
from ccproxy.web.backend import Backend
from ccproxy.web.sse import WireEvent

_SEAL = "seal"
# A response that ended so has an answer to go on from.
_CONTINUABLE = ("completed", "incomplete")


@frozen
class PreparedResponse:
    """A question that can be asked, and the answer in the making.

    Attributes:
        identifier: makes the ids of everything in the answer.
        earlier: everything before it.
        is_loose: what is before it is not kept, and has to be kept with it.
    """

    identifier: str
    call: DecodedResponsesRequest
    context: Context
    question: PreparedQuestion
    encoder: ResponseStream
    earlier: tuple[Item, ...]
    is_loose: bool

    @property
    def id(self) -> str:
        """The response's."""
        return response_id(self.identifier)

    @cached_property
    def input(self) -> tuple[Item, ...]:
        """What the request brought, as it is kept."""
        taken = {item.id for item in self.earlier}
        own = documents(self.context.own, self.identifier, taken)
        return tuple(Item(*item) for item in own)

    @property
    def output(self) -> tuple[Item, ...]:
        """What came of it, so far."""
        return tuple(
            Item(item["id"], encode_json(item)) for item in self.encoder.output
        )

    @property
    def document(self) -> bytes:
        """The response as it is now, as it is kept."""
        return kept_response(self.encoder.response, self.encoder.output)


class ResponseBuilder:
    """Makes turns, and keeps them.

    Args:
        wall_seconds: Unix time.
    """

    def __init__(
        self, backend: Backend, store: Store, wall_seconds: Callable[[], float]
    ) -> None:
        self.backend = backend
        self._store = store
        self._wall_seconds = wall_seconds
        self._sealer: Encryptor | None = None

    @property
    def now(self) -> int:
        """Unix time."""
        return int(self._wall_seconds())

    async def seal(self) -> Encryptor:
        """The seal of all servers of this store.

        Raises:
            StorageFailed: its key cannot be had.
        """
        if self._sealer is None:
            self._sealer = Encryptor(await self._store.secret(_SEAL, new_key))
        return self._sealer

    async def _sealer_for(self, needs_seal: bool, remembers: bool) -> Encryptor | None:
        try:
            return await self.seal() if needs_seal or remembers else None
        except StorageFailed:
            if needs_seal:
                raise
            # What is only remembered does without its thinking.
            return None

    async def prepare(
        self,
        call: DecodedResponsesRequest,
        identifier: str,
        remembered: "PreviousResponse | None" = None,
        closing: str = "",
        *,
        owner: str,
        remembers: bool = False,
    ) -> PreparedResponse:
        """Put a turn together.

        Args:
            call: the request.
            identifier: makes the ids of everything in the answer.
            remembered: the response that it continues, without asking the store.
            closing: what the user says after all that.
            owner: the id of the client's key.
            remembers: whether the answer may be continued though it is not kept.

        Raises:
            CCProxyError: there is nothing that could be asked.
        """
        earlier = await self._earlier(call, remembered)
        wanted = call.wanted_ids
        kept: Mapping[str, bytes] = {}
        if wanted:
            kept = await self._store.responses.items(wanted)
        is_loose = remembered is not None and not remembered.is_kept
        context = context_of(call, [item.document for item in earlier], kept)
        echo = call.echo
        needs_seal = context.has_seals or echo.store or echo.shows_encrypted
        sealer = await self._sealer_for(needs_seal, remembers)
        told = request_of(call, context, sealer or _NoSeal(), closing)
        question = await self.backend.prepare(told.request, owner=owner)
        echo = evolve(echo, model=question.model, effort=question.effort)
        return PreparedResponse(
            identifier=identifier,
            call=evolve(
                call,
                echo=echo,
                ignored=(*call.ignored, *told.ignored),
                adjusted=(*call.adjusted, *told.adjusted),
            ),
            context=context,
            question=question,
            encoder=ResponseStream(
                identifier,
                echo,
                self._wall_seconds,
                sealer,
                call.tools,
                question.prefix,
            ),
            earlier=earlier,
            is_loose=is_loose,
        )

    async def _earlier(
        self, call: DecodedResponsesRequest, remembered: "PreviousResponse | None"
    ) -> tuple[Item, ...]:
        echo = call.echo
        if echo.conversation_id is not None:
            items = await self._store.conversations.items(echo.conversation_id)
            if items is None:
                raise no_conversation(echo.conversation_id)
            return items
        if echo.previous_response_id is None:
            return ()
        chain = (
            await self._store.responses.chain(echo.previous_response_id)
            if remembered is None
            else remembered.chain
        )
        if chain is None:
            raise PreviousResponseNotFound(
                f"there is no response {echo.previous_response_id!r} here to continue: "
                "it was not kept (`store: false`), is deleted, or belongs to another "
                "server; send the whole conversation as `input`",
                param="previous_response_id",
            )
        if chain.status not in _CONTINUABLE:
            raise InvalidRequest(
                f"the response {echo.previous_response_id!r} is {chain.status}; only a "
                "response with an answer can be continued",
                param="previous_response_id",
            )
        if chain.conversation_id is not None:
            raise InvalidRequest(
                f"the response {echo.previous_response_id!r} is a part of a "
                f"conversation; continue it with `conversation: "
                f"{chain.conversation_id!r}`",
                param="previous_response_id",
            )
        return chain.items

    def beginning(self, turn: PreparedResponse) -> NewResponse:
        """The turn as the store takes it before its end."""
        echo = turn.call.echo
        return NewResponse(
            id=turn.id,
            created_seconds=int(turn.encoder.response["created_at"]),
            status=turn.encoder.response["status"],
            document=turn.document,
            is_background=echo.background,
            previous_id=None if turn.is_loose else echo.previous_response_id,
            conversation_id=echo.conversation_id,
            input=(*turn.earlier, *turn.input) if turn.is_loose else turn.input,
        )

    def ending(
        self, turn: PreparedResponse, events: Sequence[WireEvent]
    ) -> FinalResponse:
        """The turn as the store takes it at its end."""
        return FinalResponse(
            status=turn.encoder.response["status"],
            document=turn.document,
            output=turn.output,
            events=encode_events(events),
        )

    async def keep(self, turn: PreparedResponse, events: Sequence[WireEvent]) -> None:
        """Keep a turn that is over, if it is to be kept.

        Args:
            turn: not a background one.
            events: the whole stream that told it.

        Raises:
            StorageFailed: it could not be.
        """
        if turn.call.echo.store:
            await self._store.responses.save(
                self.beginning(turn), self.ending(turn, events)
            )


def no_conversation(identifier: str) -> NotFound:
    """The error for a conversation that is not there."""
    return NotFound(
        f"there is no conversation {identifier!r} here", param="conversation"
    )


class _NoSeal:
    """Where nothing is sealed."""

    def open(self, sealed: str, at: str) -> Mapping[str, Any]:
        """Never called: `Context.has_seals` says whether there is any."""
        raise AssertionError(at)


@frozen
class PreviousResponse:
    """A response that is over, for who continues it without asking the store."""

    id: str
    chain: ResponseChain
    is_kept: bool


def remembered(turn: PreparedResponse) -> PreviousResponse:
    """A turn that is over."""
    items = (*turn.earlier, *turn.input, *turn.output)
    echo = turn.call.echo
    chain = ResponseChain(turn.encoder.response["status"], items, echo.conversation_id)
    return PreviousResponse(turn.id, chain, echo.store)
