"""The routes of conversations and their items."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec
from klein import Klein

from ccproxy.api.common.decoding import read_body
from ccproxy.api.conversations.request import (
    ConversationUpdate,
    NewConversation,
    NewItems,
    conversation_document,
    decode_conversation,
    decode_metadata,
    decode_new_items,
)
from ccproxy.api.responses.input.items import INCLUDE_ENCRYPTED, resolve
from ccproxy.api.responses.input.items import DecodedItem as RequestItem
from ccproxy.api.responses.lifecycle.stored import (
    deleted,
    documents,
    item_list,
    shown_item,
)
from ccproxy.api.responses.lifecycle.turns import no_conversation
from ccproxy.api.responses.operations import INCLUDE, PAGE, STORE_ERRORS
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import InvalidRequest, NotFound, UnsupportedValue
from ccproxy.store.conversations import ConversationStore
from ccproxy.store.records import Conversation, Item, TooLarge, UnknownItem
from ccproxy.store.responses import ResponseStore
from ccproxy.web import query
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.operation import Operation, json_response_spec
from ccproxy.web.replies import json_response, set_adjusted_header
from ccproxy.web.routing import Routes, add_error_handlers, route

_operation = partial(Operation, tag="conversations", errors=STORE_ERRORS)
_CONVERSATION = (json_response_spec("ConversationResource"),)

_CREATE = _operation(
    id="createConversation",
    summary="create a conversation, with up to 20 items",
    request=NewConversation,
    is_request_optional=True,
    creates=("name", "id"),
    responses=_CONVERSATION,
    errors=(*STORE_ERRORS, UnsupportedValue),
)
_RETRIEVE = _operation(
    id="getConversation",
    summary="a conversation with its metadata",
    responses=_CONVERSATION,
)
_UPDATE = _operation(
    id="updateConversation",
    summary="replace the metadata of a conversation",
    request=ConversationUpdate,
    responses=_CONVERSATION,
)
_DELETE = _operation(
    id="deleteConversation",
    summary="delete a conversation with its items",
    responses=(json_response_spec("DeletedConversation"),),
)
_LIST_ITEMS = _operation(
    id="listConversationItems",
    summary="the items of a conversation, in pages",
    parameters=PAGE,
    responses=(json_response_spec("ItemList"),),
)
_APPEND_ITEMS = _operation(
    id="createConversationItems",
    summary="add up to 20 items to a conversation",
    parameters=(INCLUDE,),
    request=NewItems,
    creates=("item", "first_id"),
    responses=(json_response_spec("ItemList"),),
    errors=(*STORE_ERRORS, UnsupportedValue),
)
_RETRIEVE_ITEM = _operation(
    id="getConversationItem",
    summary="an item of a conversation",
    parameters=(INCLUDE,),
    responses=(json_response_spec("Item"),),
)
_DELETE_ITEM = _operation(
    id="deleteConversationItem",
    summary="delete an item of a conversation",
    responses=_CONVERSATION,
)

_T = TypeVar("_T")


class ConversationRoutes(Routes):
    """The routes of conversations: ``/conversations``, and all routes below it.

    Args:
        services: the services for the `RequestContext` of each request.
        conversations: the store of conversations.
        most_bytes: the most bytes of stored items that a request may refer to.
        responses: the store of responses, to whose items a request can refer.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        conversations: ConversationStore,
        responses: ResponseStore,
        most_bytes: int,
    ) -> None:
        super().__init__(services)
        self._most_bytes = most_bytes
        self._stored = conversations
        self._responses = responses

    @route(_app, "/conversations", methods=["POST"], operation=_CREATE)
    async def create(self, context: RequestContext) -> bytes:
        """Create a conversation."""
        metadata, given = await _decoded(context, decode_conversation)
        items = await self._kept(given, context)
        created_seconds = int(self.services.wall_seconds())
        conversation = Conversation(
            f"conv_{context.hex}", created_seconds, encode_json(metadata)
        )
        await self._stored.create(conversation, items)
        return _shown(context, conversation)

    async def _kept(
        self, given: Sequence[RequestItem], context: RequestContext, name: str = ""
    ) -> Sequence[Item]:
        """Encode items for the store, with ids that are unique in the conversation.

        Args:
            given: the items in the request.
            context: the request, whose id is part of new ids.
            name: the id of an existing conversation; empty: a new conversation.
        """
        wanted = [own for item in given if (own := item.referenced_id) is not None]
        found: Mapping[str, bytes] = {}
        try:
            if wanted:
                found = await self._responses.items(wanted, self._most_bytes)
        except TooLarge as error:
            raise self._too_large(error.size_bytes) from None
        # A request may refer to the same item several times.
        size_bytes = sum(len(found.get(own, b"")) for own in wanted)
        if size_bytes > self._most_bytes:
            raise self._too_large(size_bytes)
        context.memory.add(size_bytes)
        items = resolve(given, found)
        ids = [item.fields.id for item in items if item.fields.id]
        taken = await self._stored.used_item_ids(name, ids)
        size_bytes = sum(len(bytes(item.raw)) for item in items)
        kept = await self.services.large_work.run(
            size_bytes, documents, items, context.hex, taken
        )
        set_adjusted_header(context.request, kept.renamed)
        return [Item(*pair) for pair in kept.pairs]

    def _too_large(self, size_bytes: int) -> InvalidRequest:
        return InvalidRequest(
            f"the items that `items` refers to have {size_bytes:,} bytes, more than a "
            f"request may have ({self._most_bytes:,}, see --max-body)",
            param="items",
        )

    @route(_app, "/conversations/<name>", methods=["GET"], operation=_RETRIEVE)
    async def retrieve(self, context: RequestContext, name: str) -> bytes:
        """Return a conversation."""
        return _shown(context, await self._conversation(name))

    async def _conversation(self, name: str) -> Conversation:
        return _known(name, await self._stored.get(name))

    @route(_app, "/conversations/<name>", methods=["POST"], operation=_UPDATE)
    async def update(self, context: RequestContext, name: str) -> bytes:
        """Replace the metadata."""
        metadata = await _decoded(context, decode_metadata)
        changed = await self._stored.set_metadata(name, encode_json(metadata))
        return _shown(context, _known(name, changed))

    @route(_app, "/conversations/<name>", methods=["DELETE"], operation=_DELETE)
    async def delete(self, context: RequestContext, name: str) -> bytes:
        """Delete a conversation."""
        _known(name, await self._stored.delete(name))
        return json_response(context.request, deleted(name, "conversation.deleted"))

    @route(
        _app,
        "/conversations/<name>/items",
        methods=["GET"],
        operation=_LIST_ITEMS,
    )
    async def list_items(self, context: RequestContext, name: str) -> bytes:
        """Return a page of items."""
        after, limit, descending = query.page(context.request)
        try:
            found = await self._stored.page(
                name, after=after, limit=limit, descending=descending
            )
        except UnknownItem:
            raise query.unknown_item(after) from None
        page = _known(name, found)
        return await _listed(context, page.items, has_more=page.has_more)

    @route(
        _app,
        "/conversations/<name>/items",
        methods=["POST"],
        operation=_APPEND_ITEMS,
    )
    async def append_items(self, context: RequestContext, name: str) -> bytes:
        """Append items."""
        given = await _decoded(context, decode_new_items)
        items = await self._kept(given, context, name)
        _known(name, await self._stored.append(name, items))
        return await _listed(context, items, has_more=False)

    @route(
        _app,
        "/conversations/<name>/items/<item>",
        methods=["GET"],
        operation=_RETRIEVE_ITEM,
    )
    async def retrieve_item(
        self, context: RequestContext, name: str, item: str
    ) -> bytes:
        """Return an item."""
        await self._conversation(name)
        found = await self._stored.item(name, item)
        if found is None:
            raise _no_item(name, item)
        shows_encrypted = query.includes(context.request, INCLUDE_ENCRYPTED)
        shown = await context.encoded(
            [found],
            lambda: encode_json(shown_item(found, shows_encrypted=shows_encrypted)),
        )
        return json_response(context.request, shown)

    @route(
        _app,
        "/conversations/<name>/items/<item>",
        methods=["DELETE"],
        operation=_DELETE_ITEM,
    )
    async def delete_item(self, context: RequestContext, name: str, item: str) -> bytes:
        """Delete an item."""
        conversation = await self._conversation(name)
        if not await self._stored.delete_item(name, item):
            raise _no_item(name, item)
        return _shown(context, conversation)


def _known(name: str, found: _T | None) -> _T:
    """Check the store's result; returns the result.

    Args:
        name: the id of the conversation.
        found: the result; None or False: the conversation does not exist.
    """
    if found is None or found is False:
        raise no_conversation(name)
    return found


def _shown(context: RequestContext, conversation: Conversation) -> bytes:
    return json_response(
        context.request,
        conversation_document(
            conversation.id,
            conversation.created_seconds,
            msgspec.json.decode(conversation.metadata),
        ),
    )


async def _listed(
    context: RequestContext, items: Sequence[Item], *, has_more: bool
) -> bytes:
    pairs = [(item.id, item.document) for item in items]
    shows_encrypted = query.includes(context.request, INCLUDE_ENCRYPTED)
    shown = await context.encoded(
        [item.document for item in items],
        lambda: item_list(pairs, has_more=has_more, shows_encrypted=shows_encrypted),
    )
    return json_response(context.request, shown)


def _no_item(name: str, item: str) -> NotFound:
    return NotFound(f"the conversation {name!r} has no item {item!r}")


async def _decoded(context: RequestContext, decode: Callable[[bytes], _T]) -> _T:
    """Decode the body; ``x-ccproxy-adjusted`` names texts that are changed."""

    def read(given: bytes) -> tuple[_T, tuple[str, ...]]:
        body, mended = read_body(given)
        return decode(body), mended

    decoded, mended = await context.decoded(read)
    set_adjusted_header(context.request, mended)
    return decoded
