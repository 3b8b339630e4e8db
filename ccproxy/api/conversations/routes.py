"""The routes of conversations.

========  ====================================  ==============================
POST      ``/conversations``
GET       ``/conversations/ID``
POST      ``/conversations/ID``                 new metadata
DELETE    ``/conversations/ID``                 its items go with it
GET       ``/conversations/ID/items``           in pages
POST      ``/conversations/ID/items``           at most 20 at a time
GET       ``/conversations/ID/items/ITEM``
DELETE    ``/conversations/ID/items/ITEM``
========  ====================================  ==============================
"""

from collections.abc import Callable, Sequence

import msgspec

from ccproxy.api.conversations.request import (
    conversation_document,
    decode_conversation,
    decode_metadata,
    decode_new_items,
)
from ccproxy.api.responses.items import SHOW_SEALS, resolve
from ccproxy.api.responses.items import DecodedItem as RequestItem
from ccproxy.api.responses.listing import documents
from ccproxy.api.responses.stored import (
    deleted,
    item_list,
    shown_item,
)
from ccproxy.api.responses.turns import no_conversation
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import NotFound
from ccproxy.store.conversations import ConversationStore
from ccproxy.store.records import Conversation, Item, UnknownItem
from ccproxy.store.responses import ResponseStore
from ccproxy.web import query
from ccproxy.web.context import RequestContext
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Router


class ConversationRoutes:
    """Everything under ``/conversations``.

    Args:
        wall_seconds: Unix time.
    """

    def __init__(
        self,
        *,
        router: Router,
        conversations: ConversationStore,
        responses: ResponseStore,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._router = router
        self._stored = conversations
        self._responses = responses
        self._wall_seconds = wall_seconds
        router.add("POST", "/conversations", self._create)
        router.add("GET", "/conversations/<name>", self._retrieve)
        router.add("POST", "/conversations/<name>", self._update)
        router.add("DELETE", "/conversations/<name>", self._delete)
        router.add("GET", "/conversations/<name>/items", self._items)
        router.add("POST", "/conversations/<name>/items", self._append)
        router.add("GET", "/conversations/<name>/items/<item>", self._item)
        router.add("DELETE", "/conversations/<name>/items/<item>", self._delete_item)

    async def _create(self, context: RequestContext) -> bytes:
        metadata, given = decode_conversation(self._router.body(context))
        items = await self._kept(given, context)
        conversation = Conversation(
            f"conv_{context.hex}", int(self._wall_seconds()), encode_json(metadata)
        )
        await self._stored.create(conversation, items)
        return _shown(context, conversation)

    async def _kept(
        self, given: Sequence[RequestItem], context: RequestContext, name: str = ""
    ) -> list[Item]:
        """The items as they are kept, with ids that no other of the conversation has.

        Args:
            given: by the request.
            context: makes the ids of those that came without.
            name: the conversation's, if there is one already.
        """
        wanted = [own for item in given if (own := item.wanted_id) is not None]
        found = await self._responses.items(wanted) if wanted else {}
        items = resolve(given, found)
        ids = [item.fields.id for item in items if item.fields.id]
        taken = await self._stored.used_item_ids(name, ids)
        return [Item(*item) for item in documents(items, context.hex, taken)]

    async def _retrieve(self, context: RequestContext, name: str) -> bytes:
        return _shown(context, await self._conversation(name))

    async def _conversation(self, name: str) -> Conversation:
        found = await self._stored.get(name)
        if found is None:
            raise no_conversation(name)
        return found

    async def _update(self, context: RequestContext, name: str) -> bytes:
        metadata = decode_metadata(self._router.body(context))
        changed = await self._stored.set_metadata(name, encode_json(metadata))
        if changed is None:
            raise no_conversation(name)
        return _shown(context, changed)

    async def _delete(self, context: RequestContext, name: str) -> bytes:
        if not await self._stored.delete(name):
            raise no_conversation(name)
        return json_response(context.request, deleted(name, "conversation.deleted"))

    async def _items(self, context: RequestContext, name: str) -> bytes:
        after, limit, descending = query.page(context.request)
        try:
            page = await self._stored.page(
                name, after=after, limit=limit, descending=descending
            )
        except UnknownItem:
            raise query.unknown_item(after) from None
        if page is None:
            raise no_conversation(name)
        return _listed(context, page.items, has_more=page.has_more)

    async def _append(self, context: RequestContext, name: str) -> bytes:
        given = decode_new_items(self._router.body(context))
        items = await self._kept(given, context, name)
        if not await self._stored.append(name, items):
            raise no_conversation(name)
        return _listed(context, items, has_more=False)

    async def _item(self, context: RequestContext, name: str, item: str) -> bytes:
        await self._conversation(name)
        found = await self._stored.item(name, item)
        if found is None:
            raise _no_item(name, item)
        shown = shown_item(
            found, shows_seals=query.includes(context.request, SHOW_SEALS)
        )
        return json_response(context.request, encode_json(shown))

    async def _delete_item(
        self, context: RequestContext, name: str, item: str
    ) -> bytes:
        conversation = await self._conversation(name)
        if not await self._stored.delete_item(name, item):
            raise _no_item(name, item)
        return _shown(context, conversation)


def _shown(context: RequestContext, conversation: Conversation) -> bytes:
    return json_response(
        context.request,
        conversation_document(
            conversation.id,
            conversation.created_seconds,
            msgspec.json.decode(conversation.metadata),
        ),
    )


def _listed(context: RequestContext, items: Sequence[Item], *, has_more: bool) -> bytes:
    pairs = [(item.id, item.document) for item in items]
    shows_seals = query.includes(context.request, SHOW_SEALS)
    return json_response(
        context.request, item_list(pairs, has_more=has_more, shows_seals=shows_seals)
    )


def _no_item(name: str, item: str) -> NotFound:
    return NotFound(f"the conversation {name!r} has no item {item!r}")
