"""Tells which requests belong to one conversation, for counting. Pure."""

from hashlib import blake2b

from attrs import evolve

from ccproxy.core.blocks import Block, Text
from ccproxy.core.messages import MessagesRequest

# How many characters of the system prompt, and of each block's field, are hashed.
# To hash a whole image would take milliseconds.
_READ_CHARACTERS = 2**16
_DIGEST_BYTES = 8


def with_conversation(request: MessagesRequest, owner: str) -> MessagesRequest:
    """The request with `conversation_id`."""
    return evolve(request, conversation=conversation_id(request, owner))


def conversation_id(request: MessagesRequest, owner: str) -> str:
    """The id of a request's conversation.

    This is the id of the stored conversation that the client names. Without one, it is
    a hash of what all requests of a conversation have in common: the key, the system
    prompt and the first message of the user. The text cannot be read from the hash.

    Args:
        request: the whole request.
        owner: the id of the client's key.
    """
    if request.conversation:
        return request.conversation
    digest = blake2b(digest_size=_DIGEST_BYTES)
    blocks = next((m.blocks for m in request.messages if m.role == "user"), ())
    for part in (owner.encode(), _start(request.system), *map(_content, blocks)):
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()


def _content(block: Block) -> bytes:
    """The block without its breakpoint, which clients move from turn to turn."""
    if isinstance(block.value, Text):
        return _start(block.value.text)
    return b"".join(
        b"%b %d %b" % (name.encode(), len(raw), raw[:_READ_CHARACTERS])
        for name, value in block.fields.items()
        if name != "cache_control" and (raw := bytes(value))
    )


def _start(text: str) -> bytes:
    return f"{len(text)} {text[:_READ_CHARACTERS]}".encode()
