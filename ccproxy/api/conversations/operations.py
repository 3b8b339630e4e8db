"""The operations of the routes of conversations, for ``GET /openapi.json``. Pure."""

from ccproxy.api.conversations.request import (
    ConversationUpdate,
    NewConversation,
    NewItems,
)
from ccproxy.api.responses.operations import INCLUDE, PAGE, STORE_ERRORS
from ccproxy.core.errors import UnsupportedValue
from ccproxy.web.operation import Operation, json_response_spec

_TAG = "conversations"
_CONVERSATION = (json_response_spec("ConversationResource"),)

CREATE = Operation(
    id="createConversation",
    tag=_TAG,
    summary="create a conversation, with up to 20 items",
    request=NewConversation,
    is_request_optional=True,
    creates=("name", "id"),
    responses=_CONVERSATION,
    errors=(*STORE_ERRORS, UnsupportedValue),
)
RETRIEVE = Operation(
    id="getConversation",
    tag=_TAG,
    summary="a conversation with its metadata",
    responses=_CONVERSATION,
    errors=STORE_ERRORS,
)
UPDATE = Operation(
    id="updateConversation",
    tag=_TAG,
    summary="replace the metadata of a conversation",
    request=ConversationUpdate,
    responses=_CONVERSATION,
    errors=STORE_ERRORS,
)
DELETE = Operation(
    id="deleteConversation",
    tag=_TAG,
    summary="delete a conversation with its items",
    responses=(json_response_spec("DeletedConversation"),),
    errors=STORE_ERRORS,
)
LIST_ITEMS = Operation(
    id="listConversationItems",
    tag=_TAG,
    summary="the items of a conversation, in pages",
    parameters=PAGE,
    responses=(json_response_spec("ItemList"),),
    errors=STORE_ERRORS,
)
APPEND_ITEMS = Operation(
    id="createConversationItems",
    tag=_TAG,
    summary="add up to 20 items to a conversation",
    parameters=(INCLUDE,),
    request=NewItems,
    creates=("item", "first_id"),
    responses=(json_response_spec("ItemList"),),
    errors=(*STORE_ERRORS, UnsupportedValue),
)
RETRIEVE_ITEM = Operation(
    id="getConversationItem",
    tag=_TAG,
    summary="an item of a conversation",
    parameters=(INCLUDE,),
    responses=(json_response_spec("Item"),),
    errors=STORE_ERRORS,
)
DELETE_ITEM = Operation(
    id="deleteConversationItem",
    tag=_TAG,
    summary="delete an item of a conversation",
    responses=_CONVERSATION,
    errors=STORE_ERRORS,
)
