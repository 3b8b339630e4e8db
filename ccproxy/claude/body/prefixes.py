"""Names the beginnings of a request that the prompt cache keeps. Pure.

If two requests have the same name for a beginning, one of them can read what the other
has written. Three beginnings end at a breakpoint: the system prompt with the tools, the
request up to the previous question, and the whole request. The names of the last two
also contain a hash of the settings, because a changed setting invalidates the cached
messages.

Source: rules 44 and 45 of the Messages API.
"""

from collections.abc import Sequence
from hashlib import blake2b

from attrs import frozen

from ccproxy.claude.body.turns import Turn
from ccproxy.core.messages import Tool

# A shorter beginning is not cached for every model: 4096 tokens of four bytes.
_SHORTEST_BYTES = 4 * 4096
_DIGEST_BYTES = 16


@frozen(kw_only=True)
class Digests:
    """The hashes of a conversation at its breakpoints.

    Attributes:
        start: the hash of the system prompt and the tools.
        asked: the hash up to the end of the previous question; empty: there is none.
        whole: the hash of the whole conversation.
    """

    start: str
    asked: str
    whole: str


def cached_prefixes(
    digests: Digests,
    *,
    model: str,
    system: str,
    tools: Sequence[Tool],
    turns: Sequence[Turn],
    settings: bytes,
) -> tuple[str, ...]:
    """The names of the beginnings that are long enough to be cached, longest first.

    Args:
        digests: the hashes of the conversation.
        model: the model's name.
        system: the system prompt.
        tools: all tools.
        turns: the turns.
        settings: the JSON of everything else.
    """
    size = len(system.encode()) + sum(len(tool.raw) for tool in tools)
    found = [(size, f"{model} {digests.start}")]
    about = blake2b(settings, digest_size=_DIGEST_BYTES).hexdigest()
    answer = max((n for n, t in enumerate(turns) if t.role == "assistant"), default=0)
    size += _size(turns[:answer])
    if digests.asked:
        found.append((size, f"{model} {about} {digests.asked}"))
    size += _size(turns[answer:])
    found.append((size, f"{model} {about} {digests.whole}"))
    return tuple(name for size, name in reversed(found) if size >= _SHORTEST_BYTES)


def _size(turns: Sequence[Turn]) -> int:
    return sum(
        len(turn.content)
        if isinstance(turn.content, str)
        else sum(len(block.raw) for block in turn.content)
        for turn in turns
    )
