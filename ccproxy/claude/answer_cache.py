"""A cache of the model's messages, and the comparison of messages. Pure.

Two messages count as the same if their texts, the names of their calls and the
arguments of their calls are equal. The ids of calls and the spacing of JSON are not
compared, because many clients change them.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from attrs import define, frozen
from msgspec import Raw

from ccproxy.core.blocks import Block, Text, ToolUse

# Larger arguments are compared as they are. A model does not write so much, and to
# decode them would block all other threads.
_LARGE_BYTES = 2**18
_LARGEST_INTEGER = 2**53
# Estimated memory of a block without its JSON, and of an answer without its blocks.
_BLOCK_BYTES, _ENTRY_BYTES = 300, 500
_MOST_OF_ONE_KEY = 8


@frozen
class AnswerContent:
    """The part of a message's content that is compared with a client's copy.

    Attributes:
        text: the text of all blocks.
        calls: the name of each call, and its arguments as canonical JSON.
    """

    text: str
    calls: tuple[tuple[str, bytes], ...]


def answer_content(blocks: Sequence[Block]) -> AnswerContent:
    """The content of a message's blocks, without thinking."""
    texts: list[str] = []
    calls: list[tuple[str, bytes]] = []
    for block in blocks:
        match block.value:
            case Text(text):
                texts.append(text)
            case ToolUse(name=name, input=arguments):
                calls.append((name, _canonical(arguments)))
    return AnswerContent("".join(texts).strip(), tuple(calls))


def _canonical(raw: Raw) -> bytes:
    """JSON with sorted keys and without insignificant spaces; large JSON as it is."""
    if len(memoryview(raw)) > _LARGE_BYTES:
        return bytes(raw)
    try:
        decoded = json.loads(bytes(raw), parse_float=_number, parse_int=_number)
        return json.dumps(decoded, sort_keys=True).encode()
    except (ValueError, RecursionError):
        return bytes(raw)


def _number(text: str) -> float | int | str:
    """Normalize a number, so that ``1.0`` equals ``1``; too large numbers stay text."""
    value = float(text)
    if not math.isfinite(value):
        return text
    # As an integer, ``1e308`` would have 309 digits.
    is_short = value.is_integer() and abs(value) < _LARGEST_INTEGER
    return int(value) if is_short else value


@frozen(kw_only=True)
class RememberedAnswer:
    """A message as the model made it.

    Attributes:
        owner: the client's key and the CLI's login.
        prefix: the hash of everything before the message.
        model: the full id of the model that made the message.
        blocks: the unchanged content.
        content: the part that is compared with a client's copy.
    """

    owner: str
    prefix: str
    model: str
    blocks: Sequence[Block]
    content: AnswerContent

    @property
    def size_bytes(self) -> int:
        """The estimated memory of the answer."""
        return _ENTRY_BYTES + sum(len(b.raw) + _BLOCK_BYTES for b in self.blocks)


@define
class _Entry:
    answers: list[RememberedAnswer]
    seconds: float


class InMemoryAnswers:
    """An LRU cache of answers; a key can have several answers.

    Args:
        limit_bytes: the limit of the estimated memory of all answers.
        seconds: how long an answer is kept after its last use.
    """

    def __init__(self, limit_bytes: int, seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._seconds = seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Large requests are composed in a thread, which uses the cache.
        self._lock = Lock()
        self.size_bytes = 0

    def put(self, key: str, answer: RememberedAnswer, now: float) -> None:
        """Add an answer to the answers of a key.

        Args:
            key: the key for `get`.
            answer: the answer to add.
            now: monotonic seconds.
        """
        with self._lock:
            self._expire(now)
            entry = self._entries.setdefault(key, _Entry([], now))
            kept = [a for a in entry.answers if a.blocks != answer.blocks]
            self.size_bytes -= sum(a.size_bytes for a in entry.answers)
            entry.answers = [answer, *kept][:_MOST_OF_ONE_KEY]
            self.size_bytes += sum(a.size_bytes for a in entry.answers)
            self._touch(key, entry, now)
            while self.size_bytes > self._limit_bytes and self._entries:
                self._drop_oldest()

    def get(self, key: str, now: float) -> Sequence[RememberedAnswer]:
        """The answers of a key, the newest first."""
        with self._lock:
            self._expire(now)
            entry = self._entries.get(key)
            if entry is None:
                return ()
            self._touch(key, entry, now)
            return entry.answers

    def clear(self) -> None:
        """Drop all answers."""
        with self._lock:
            self._entries.clear()
            self.size_bytes = 0

    def _touch(self, key: str, entry: _Entry, now: float) -> None:
        entry.seconds = now
        self._entries.move_to_end(key)

    def _expire(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if now - oldest.seconds < self._seconds:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self.size_bytes -= sum(a.size_bytes for a in entry.answers)
