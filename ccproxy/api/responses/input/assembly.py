"""Builds a request of the Messages API from a decoded one and its conversation. Pure.

`ccproxy.api.responses.input.request` has decoded the request.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from ccproxy.api.common import prompt as prompting
from ccproxy.api.common.prompt import InputMessage
from ccproxy.api.responses.encryption import Encryptor
from ccproxy.api.responses.input.item_messages import input_messages
from ccproxy.api.responses.input.items import (
    DecodedItem,
    has_encrypted_content,
    kept_items,
    resolve,
)
from ccproxy.api.responses.input.request import DecodedResponsesRequest
from ccproxy.core.messages import Adjustments, MessagesRequest


@frozen
class Context:
    """All items of a conversation.

    Attributes:
        earlier: the items before the request.
        own: the items in the request, with references resolved.
    """

    earlier: tuple[DecodedItem, ...]
    own: tuple[DecodedItem, ...]

    @property
    def has_encrypted_content(self) -> bool:
        """Whether `request_of` needs an encryptor."""
        return has_encrypted_content(self.earlier) or has_encrypted_content(self.own)


def context_of(
    decoded: DecodedResponsesRequest,
    earlier: Sequence[bytes],
    kept: Mapping[str, bytes],
) -> Context:
    """Join the items of a request with the stored items of its conversation.

    Args:
        decoded: the request.
        earlier: the JSON of the items before the request.
        kept: the JSON of the items that the request refers to, by their ids.

    Raises:
        InvalidRequest: an item that the request refers to is not stored.
    """
    param = decoded.echo.continued_param
    return Context(kept_items(earlier, param), resolve(decoded.items, kept))


@frozen(kw_only=True)
class AssembledRequest:
    """A request of the Messages API with the whole conversation.

    Attributes:
        ignored: the paths of items that are left out.
        adjusted: the paths of items that are sent in another form.
    """

    request: MessagesRequest
    ignored: tuple[str, ...]
    adjusted: tuple[str, ...]


def request_of(
    decoded: DecodedResponsesRequest,
    context: Context,
    encryptor: Encryptor | None,
    closing: str = "",
    *,
    repairs: bool = False,
) -> AssembledRequest:
    """Build the request of the Messages API.

    Args:
        decoded: the client's request.
        context: all items of the conversation.
        encryptor: may be None if no item has encrypted content.
        closing: the text of a user message that is appended; empty: none.
        repairs: whether calls and results that do not match are repaired.

    Raises:
        ClientError: the conversation cannot be translated to the Messages API.
    """
    adjustments = Adjustments()
    items = (*context.earlier, *context.own)
    given = input_messages(items, encryptor, decoded.tools, adjustments)
    if closing:
        given.append(InputMessage("input", "user", closing))
    param = decoded.request.paths["messages"]
    prompt = prompting.conversation(
        given, param, adjustments, first=decoded.instructions, repairs=repairs
    )
    return AssembledRequest(
        request=evolve(
            decoded.request,
            system=prompt.system,
            messages=prompt.messages,
            thinking_models=prompt.thinking_models,
            thinking_prefixes=prompt.thinking_prefixes,
            conversation=decoded.echo.conversation_id or "",
        ),
        ignored=adjustments.ignored,
        adjusted=adjustments.adjusted,
    )
