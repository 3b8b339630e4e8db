"""Prepares responses, and stores them.

The items before the request come from a stored response, from a stored conversation, or
from the memory of a WebSocket. The caller sends the prepared request to the backend,
and calls `ResponseBuilder.keep` at the end. For a background response,
`ccproxy.api.responses.lifecycle.background` stores `beginning` and `ending` itself.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import evolve, frozen

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import (
    AssembledRequest,
    Context,
    context_of,
    request_of,
)
from ccproxy.api.responses.input.echo import Echo
from ccproxy.api.responses.input.items import check_number
from ccproxy.api.responses.input.request import DecodedResponsesRequest
from ccproxy.api.responses.lifecycle.stored import (
    EncodedItems,
    documents,
    kept_response,
)
from ccproxy.api.responses.output.resource import response_id
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.backend import Backend, PreparedQuestion
from ccproxy.core.encoding import WireEvent, encode_json
from ccproxy.core.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    NotFound,
    PreviousResponseNotFound,
    StorageFailed,
)
from ccproxy.store.records import (
    FinalResponse,
    Item,
    NewResponse,
    ResponseChain,
    TooLarge,
)
from ccproxy.store.store import Store
from ccproxy.web.apart import LargeWork
from ccproxy.web.memory import HeldMemory
from ccproxy.web.replies import refuse_ignored

_SEAL = "seal"
# The statuses of responses that can be continued.
_CONTINUABLE = ("completed", "incomplete")


@frozen
class PreparedResponse:
    """A response whose request is ready to be sent to the backend.

    Attributes:
        identifier: a part of the ids of the response and its items.
        call: the decoded request.
        context: the items of the request, and those before it.
        question: the request for the backend.
        encoder: encodes the answer.
        earlier: the items before the request.
        has_unstored_history: whether ``earlier`` is not stored, and so is stored with
            the response.
        input: the request's items for the store; empty if they are not kept.
    """

    identifier: str
    call: DecodedResponsesRequest
    context: Context
    question: PreparedQuestion
    encoder: ResponseStream
    earlier: tuple[Item, ...]
    has_unstored_history: bool
    input: tuple[Item, ...]

    @property
    def id(self) -> str:
        """The id of the response."""
        return response_id(self.identifier)

    @property
    def output(self) -> tuple[Item, ...]:
        """The complete items of the answer, for the store."""
        return tuple(
            Item(item["id"], encode_json(item)) for item in self.encoder.output
        )

    @property
    def document(self) -> bytes:
        """The response so far, for the store."""
        return kept_response(self.encoder.response, self.encoder.output)


@frozen
class _Assembled:
    earlier: tuple[Item, ...]
    context: Context
    encryptor: Encryptor | None
    request: AssembledRequest


class ResponseBuilder:
    """Prepares responses, and stores them.

    Args:
        backend: prepares the requests to the model.
        store: has earlier responses and conversations.
        wall_seconds: returns the Unix time.
        large_work: processes large data in a thread.
        most_bytes: the largest stored conversation that is continued.
        repairs_histories: whether calls and results that do not match are repaired.
        is_strict: whether requests with fields that have no effect are refused.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        wall_seconds: Callable[[], float],
        large_work: LargeWork,
        *,
        most_bytes: int,
        is_strict: bool = False,
        repairs_histories: bool = False,
    ) -> None:
        self.backend = backend
        self.large_work = large_work
        self._store = store
        self._wall_seconds = wall_seconds
        self._most_bytes = most_bytes
        self._is_strict = is_strict
        self._repairs_histories = repairs_histories
        self._encryptor: Encryptor | None = None

    @property
    def now(self) -> int:
        """The Unix time in seconds."""
        return int(self._wall_seconds())

    async def encryptor(self) -> Encryptor:
        """The encryptor with the key that all servers of the store share.

        Raises:
            StorageFailed: the key cannot be read.
        """
        if self._encryptor is None:
            self._encryptor = Encryptor(await self._store.secret(_SEAL, new_key))
        return self._encryptor

    async def _encryptor_for(
        self, needs_encryptor: bool, remembers: bool
    ) -> Encryptor | None:
        try:
            return await self.encryptor() if needs_encryptor or remembers else None
        except StorageFailed:
            if needs_encryptor:
                raise
            # Without a key, the response is remembered without its thinking.
            return None

    async def prepare(
        self,
        call: DecodedResponsesRequest,
        identifier: str,
        remembered: "PreviousResponse | None" = None,
        closing: str = "",
        *,
        owner: str,
        memory: HeldMemory,
        remembers: bool = False,
    ) -> PreparedResponse:
        """Prepare a response.

        Args:
            call: the request.
            identifier: a part of the ids of the response and its items.
            remembered: the previous response, if the caller has it in memory.
            closing: the text of a user message that is appended; empty: none.
            owner: the id of the client's key.
            memory: also counts the conversation that is continued.
            remembers: whether the caller keeps the response in memory, so that it can
                be continued.

        Raises:
            CCProxyError: the request is invalid, or cannot be sent.
        """
        echo = call.echo
        found = await self._assemble(
            call,
            remembered,
            closing,
            memory,
            needs_encryptor=echo.store or echo.shows_encrypted,
            remembers=remembers,
        )
        context, request = found.context, found.request.request
        question = await self.backend.prepare(request, owner=owner)
        if self._is_strict:
            refuse_ignored([*call.ignored, *found.request.ignored, *question.ignored])
        own = EncodedItems()
        if echo.store or remembers:
            taken = {item.id for item in found.earlier}
            own = await self.large_work.run(
                request.size_bytes, documents, context.own, identifier, taken
            )
        echo = evolve(echo, model=question.model, effort=question.effort)
        return PreparedResponse(
            identifier=identifier,
            call=evolve(
                call,
                echo=echo,
                ignored=(*call.ignored, *found.request.ignored),
                adjusted=(*call.adjusted, *found.request.adjusted, *own.renamed),
            ),
            context=context,
            question=question,
            encoder=ResponseStream(
                identifier,
                echo,
                self._wall_seconds,
                found.encryptor,
                call.tools,
                question.prefix,
            ),
            earlier=found.earlier,
            has_unstored_history=remembered is not None and not remembered.is_kept,
            input=tuple(Item(*pair) for pair in own.pairs),
        )

    async def whole_request(
        self, call: DecodedResponsesRequest, memory: HeldMemory
    ) -> AssembledRequest:
        """The request with the conversation that it continues, without preparing it.

        Raises:
            CCProxyError: the request is invalid, or continues an unknown response.
        """
        found = await self._assemble(
            call, None, "", memory, needs_encryptor=False, remembers=False
        )
        if self._is_strict:
            refuse_ignored([*call.ignored, *found.request.ignored])
        return found.request

    async def _assemble(
        self,
        call: DecodedResponsesRequest,
        remembered: "PreviousResponse | None",
        closing: str,
        memory: HeldMemory,
        *,
        needs_encryptor: bool,
        remembers: bool,
    ) -> "_Assembled":
        echo = call.echo
        kept: Mapping[str, bytes] = {}
        try:
            earlier = await self._earlier(call, remembered)
            wanted = call.referenced_ids
            if wanted:
                kept = await self._store.responses.items(wanted, self._most_bytes)
        except TooLarge as error:
            raise self._too_long(error.size_bytes, echo) from None
        check_number(len(earlier) + len(call.items), echo.continued_param)
        size_bytes = sum(len(item.document) for item in earlier)
        size_bytes += call.referenced_bytes(kept)
        if size_bytes > self._most_bytes:
            raise self._too_long(size_bytes, echo)
        if remembered is None:
            memory.add(size_bytes)
        size_bytes += call.request.size_bytes
        stored = [item.document for item in earlier]
        work = self.large_work.run
        context = await work(size_bytes, context_of, call, stored, kept)
        encryptor = await self._encryptor_for(
            needs_encryptor or context.has_encrypted_content, remembers
        )
        build = partial(request_of, repairs=self._repairs_histories)
        made = await work(size_bytes, build, call, context, encryptor, closing)
        request = evolve(made, request=evolve(made.request, size_bytes=size_bytes))
        return _Assembled(earlier, context, encryptor, request)

    def _too_long(self, size_bytes: int, echo: Echo) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the stored conversation has {size_bytes:,} bytes, more than a request "
            f"may have ({self._most_bytes:,}, see --max-body); begin a new one, or "
            "compact it",
            param=echo.continued_param,
        )

    async def _earlier(
        self, call: DecodedResponsesRequest, remembered: "PreviousResponse | None"
    ) -> tuple[Item, ...]:
        echo = call.echo
        if echo.conversation_id is not None:
            items = await self._store.conversations.items(
                echo.conversation_id, self._most_bytes
            )
            if items is None:
                raise no_conversation(echo.conversation_id)
            return items
        if echo.previous_response_id is None:
            return ()
        chain = (
            await self._store.responses.chain(
                echo.previous_response_id, self._most_bytes
            )
            if remembered is None
            else remembered.chain
        )
        if chain is None:
            raise PreviousResponseNotFound(
                f"there is no response {echo.previous_response_id!r} here: it was not "
                "stored (`store: false`), was deleted, or belongs to another server; "
                "send the whole conversation as `input`",
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
        """The record that is stored at the beginning of a response."""
        echo = turn.call.echo
        return NewResponse(
            id=turn.id,
            created_seconds=int(turn.encoder.response.fields["created_at"]),
            status=turn.encoder.response.status,
            document=turn.document,
            is_background=echo.background,
            previous_id=None
            if turn.has_unstored_history
            else echo.previous_response_id,
            conversation_id=echo.conversation_id,
            input=(*turn.earlier, *turn.input)
            if turn.has_unstored_history
            else turn.input,
        )

    def ending(
        self, turn: PreparedResponse, events: Sequence[WireEvent]
    ) -> FinalResponse:
        """The record that is stored at the end of a response.

        Args:
            turn: the response.
            events: its whole stream.
        """
        return FinalResponse(
            status=turn.encoder.response.status,
            document=turn.document,
            output=turn.output,
            events=tuple(event.data for event in events),
        )

    async def keep(self, turn: PreparedResponse, events: Sequence[WireEvent]) -> None:
        """Store a complete response, unless the request has ``store: false``.

        Args:
            turn: the response; not a background response.
            events: its whole stream.

        Raises:
            StorageFailed: the response cannot be stored.
        """
        if turn.call.echo.store:
            await self._store.responses.save(
                self.beginning(turn), self.ending(turn, events)
            )


def no_conversation(identifier: str) -> NotFound:
    """The error for an unknown conversation."""
    return NotFound(
        f"there is no conversation {identifier!r} here", param="conversation"
    )


@frozen
class PreviousResponse:
    """A complete response in memory, which the next request can continue.

    Attributes:
        chain: the conversation, including the response.
        is_kept: whether the response is also stored.
        size_bytes: the bytes of all items.
    """

    id: str
    chain: ResponseChain
    is_kept: bool
    size_bytes: int


def remembered(turn: PreparedResponse) -> PreviousResponse:
    """Make the previous response for the next request."""
    items = (*turn.earlier, *turn.input, *turn.output)
    echo = turn.call.echo
    chain = ResponseChain(turn.encoder.response.status, items, echo.conversation_id)
    size_bytes = sum(len(item.document) for item in items)
    return PreviousResponse(turn.id, chain, echo.store, size_bytes)
