"""The proxy's memory of its own answers, for clients that do not send them whole.

A model keeps its thinking in a loop of calls only if each of its messages comes back as
it was made, with its signed thinking. Many clients drop that, change ids or print
arguments anew. So each message is kept as the model made it, and takes the place of the
client's copy where both say the same: text, names and arguments of calls. Ids do not
count, nor how JSON is spaced.

It is found by the client's key, the login, the model, and the hash of what stands
before it (`ccproxy.claude.body.prefix`). Newer models refuse thinking behind any other
prefix; for the older ones a message is found by the provider's own ids of its calls as
well, because some clients change what stands before.

After a restart, or on another node, memory does not know it: before a question is
composed, it is looked for in the store (`SharedAnswers`), by hashes of the ids of its
calls and of what it says. What it is behind is compared here, as always. Without a
store the client's copy goes up then, without thinking.

Pure: the time is handed in.
"""

import json
import math
import re
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec
from attrs import define, field, frozen
from msgspec import Raw

from ccproxy.claude.body.models import is_same_model
from ccproxy.core.messages import (
    Block,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ToolUse,
)

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9]")
# What a block costs beside its JSON.
_BLOCK_BYTES = 300
_ENTRY_BYTES = 500
_MOST_OF_ONE_PREFIX = 8
_MOST_PLAIN = 4_096
_DIGEST_BYTES = 16


@frozen(kw_only=True)
class RememberedAnswer:
    """A message as the model made it.

    Attributes:
        owner: whose it is: the client's key and the CLI's login.
        prefix: the hash of what stands before it.
        model: the full id of the model that made it.
        blocks: its content.
        said: what has to agree with a client's copy.
    """

    owner: str
    prefix: str
    model: str
    blocks: Sequence[Block]
    said: "Said"

    @property
    def size_bytes(self) -> int:
        """What it takes to keep it, roughly."""
        return _ENTRY_BYTES + sum(len(b.raw) + _BLOCK_BYTES for b in self.blocks)


@frozen
class Said:
    """What a message says, however it is written.

    Attributes:
        text: of all its blocks.
        calls: the name of each call and its arguments as canonical JSON.
    """

    text: str
    calls: tuple[tuple[str, bytes], ...]


def said_in(blocks: Sequence[Block]) -> Said:
    """What the blocks of a message say; thinking does not count."""
    texts: list[str] = []
    calls: list[tuple[str, bytes]] = []
    for block in blocks:
        match block.value:
            case Text(text):
                texts.append(text)
            case ToolUse(name=name, input=arguments):
                calls.append((name, _arguments(arguments)))
    return Said("".join(texts).strip(), tuple(calls))


def _arguments(raw: Raw) -> bytes:
    """Arguments without anything that only the writing of JSON decides."""
    try:
        decoded = json.loads(bytes(raw), parse_float=_number, parse_int=_number)
        return json.dumps(decoded, sort_keys=True).encode()
    except (ValueError, RecursionError):
        return bytes(raw)


def _number(text: str) -> float | int | str:
    """Equal for equal values; what JavaScript has no number for stays as written."""
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() else value


class AnswerStore(Protocol):
    """Where answers are kept; by an owner and a place of that owner's."""

    def put(self, place: str, answer: RememberedAnswer, now: float) -> None:
        """Keep an answer at a place, beside the others there."""

    def at(self, place: str, now: float) -> Sequence[RememberedAnswer]:
        """The answers at a place, the newest first."""

    def clear(self) -> None:
        """Forget all of them."""


class SharedAnswers(Protocol):
    """Where answers outlive this process; what they say is opaque to it.

    A key is two hashes: of the ids of the answer's calls, and of what it says.
    """

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        """Keep an answer, without waiting for that and without failing."""

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """The answers of an owner, oldest first, by either hash.

        None if that takes too long, or cannot be.
        """


class _Document(msgspec.Struct, frozen=True):
    """An answer as it is kept in the store."""

    prefix: str
    model: str
    blocks: list[Raw]


_read_document = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


@define
class _Shelf:
    answers: list[RememberedAnswer]
    seconds: float


class InMemoryAnswers:
    """Answers in this process's memory: the least recently used go first.

    Args:
        limit_bytes: how much is kept, roughly.
        seconds: how long an answer is kept after its last use.
    """

    def __init__(self, limit_bytes: int, seconds: float) -> None:
        self._limit_bytes = limit_bytes
        self._seconds = seconds
        self._shelves: OrderedDict[str, _Shelf] = OrderedDict()
        self.size_bytes = 0

    def put(self, place: str, answer: RememberedAnswer, now: float) -> None:
        """Keep an answer at a place, beside the others there."""
        self._expire(now)
        shelf = self._shelves.setdefault(place, _Shelf([], now))
        kept = [a for a in shelf.answers if a.blocks != answer.blocks]
        self.size_bytes -= sum(a.size_bytes for a in shelf.answers)
        shelf.answers = [answer, *kept][:_MOST_OF_ONE_PREFIX]
        self.size_bytes += sum(a.size_bytes for a in shelf.answers)
        self._touch(place, shelf, now)
        while self.size_bytes > self._limit_bytes and self._shelves:
            self._drop_oldest()

    def at(self, place: str, now: float) -> Sequence[RememberedAnswer]:
        """The answers at a place, the newest first."""
        self._expire(now)
        shelf = self._shelves.get(place)
        if shelf is None:
            return ()
        self._touch(place, shelf, now)
        return shelf.answers

    def clear(self) -> None:
        """Forget all of them."""
        self._shelves.clear()
        self.size_bytes = 0

    def _touch(self, place: str, shelf: _Shelf, now: float) -> None:
        shelf.seconds = now
        self._shelves.move_to_end(place)

    def _expire(self, now: float) -> None:
        while self._shelves:
            oldest = next(iter(self._shelves.values()))
            if now - oldest.seconds < self._seconds:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, shelf = self._shelves.popitem(last=False)
        self.size_bytes -= sum(a.size_bytes for a in shelf.answers)


@define
class RememberedAnswers:
    """Keeps the model's messages, and finds them again.

    Attributes:
        account: whose login the CLI has; a model reads its thinking for one account
            only, so what another has asked is not found.
        shared: where messages outlive this process; None: nowhere.
    """

    _store: AnswerStore
    account: str = ""
    shared: SharedAnswers | None = None
    # Places of messages that were made here, and have no thinking.
    _plain: OrderedDict[str, None] = field(factory=OrderedDict, init=False)

    def remember(
        self,
        owner: str,
        prefix: str,
        blocks: Sequence[Block],
        model: str,
        now: float,
        *,
        is_shared: bool = True,
    ) -> None:
        """Keep a message of the model's.

        Args:
            owner: the id of the client's key.
            prefix: the hash of what stood before it.
            blocks: all of them, as the model made them.
            model: the full id of the model that made it.
            now: monotonic seconds.
            is_shared: whether it may leave this process's memory.
        """
        whose, ids = self._whose(owner), _ids(blocks)
        if not any(_is_thought(block) for block in blocks):
            # The client's copy says the same.
            self._note_plain(_by_ids(whose, ids))
            return
        answer = self._keep(whose, prefix, blocks, model, now)
        if self.shared is not None and is_shared and ids:
            document = _Document(prefix, model, [Raw(b.raw) for b in blocks])
            key = _key(ids, answer.said)
            self.shared.put(_digest(whose.encode()), key, _encode(document))

    def missing(
        self, owner: str, messages: Sequence[Message], now: float
    ) -> Generator[None, None, list[tuple[str, str]]]:
        """The keys of the messages with calls that only the store may know.

        It takes a step for each of the assistant's turns. A client that sends the
        thinking itself needs none of ours.
        """
        keys: dict[tuple[str, str], None] = {}
        whose = self._whose(owner)
        for run in _assistant_runs(messages):
            whole = [block for message in run for block in message]
            if any(_is_signed(block) for block in whole):
                continue
            for said in (whole, *run) if len(run) > 1 else (whole,):
                ids = _ids(said)
                if ids and not self._is_known(_by_ids(whose, ids), now):
                    keys[_key(ids, said_in(said))] = None
            yield
        return list(keys)

    async def find_shared(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """What the store has of a client's answers, for `learn`."""
        if self.shared is None or not keys:
            return ()
        return await self.shared.find(_digest(self._whose(owner).encode()), keys)

    def learn(
        self, owner: str, documents: Sequence[bytes], now: float
    ) -> Iterator[None]:
        """Take what the store has into memory, a step for each."""
        whose = self._whose(owner)
        for document in documents:
            try:
                read = _read_document(document)
                blocks = [Block.decode(raw) for raw in read.blocks]
            except msgspec.DecodeError:
                # Another version has written it; the client's copy goes up.
                continue
            self._keep(whose, read.prefix, blocks, read.model, now)
            yield

    def _keep(
        self, whose: str, prefix: str, blocks: Sequence[Block], model: str, now: float
    ) -> RememberedAnswer:
        answer = RememberedAnswer(
            owner=whose,
            prefix=prefix,
            model=model,
            blocks=tuple(blocks),
            said=said_in(blocks),
        )
        self._store.put(_by_prefix(whose, prefix), answer, now)
        ids = _ids(blocks)
        if ids:
            self._store.put(_by_ids(whose, ids), answer, now)
        return answer

    def _note_plain(self, place: str) -> None:
        self._plain[place] = None
        if len(self._plain) > _MOST_PLAIN:
            self._plain.popitem(last=False)

    def _is_known(self, place: str, now: float) -> bool:
        return place in self._plain or bool(self._store.at(place, now))

    def of(self, owner: str, now: float) -> "OwnersAnswers":
        """What is remembered of the answers to one client."""
        return OwnersAnswers(self._store, self._whose(owner), now)

    def forget(self) -> None:
        """Forget everything, but for what is in the store."""
        self._store.clear()
        self._plain.clear()

    def _whose(self, owner: str) -> str:
        return f"{len(owner)} {owner} {self.account}"


@frozen
class OwnersAnswers:
    """The answers to one client, for the composer; see its ``Recall``."""

    _store: AnswerStore
    _owner: str
    _now: float

    def find(
        self, prefix: str, said: Sequence[Block], model_id: str, *, is_bound: bool
    ) -> Sequence[Block] | None:
        """An answer as the model made it; None: none that agrees is known.

        Args:
            prefix: the hash of what stands before it.
            said: the client's copy of it.
            model_id: the model that is to read it.
            is_bound: whether it is to be found behind that prefix only.
        """
        places = [_by_prefix(self._owner, prefix)]
        if not is_bound and (ids := _ids(said)):
            places.append(_by_ids(self._owner, ids))
        wanted: Said | None = None
        for place in places:
            for answer in self._store.at(place, self._now):
                if not is_same_model(answer.model, model_id):
                    continue
                if wanted is None:
                    wanted = said_in(said)
                if answer.said == wanted:
                    return answer.blocks
        return None


def _assistant_runs(
    messages: Sequence[Message],
) -> Iterator[Sequence[Sequence[Block]]]:
    """The blocks of the assistant's messages that follow each other."""
    run: list[Sequence[Block]] = []
    for message in messages:
        if message.role == "assistant":
            run.append(message.blocks)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _is_thought(block: Block) -> bool:
    return isinstance(block.value, Thinking | RedactedThinking)


def _is_signed(block: Block) -> bool:
    value = block.value
    return isinstance(value, RedactedThinking) or (
        isinstance(value, Thinking) and bool(value.signature)
    )


def _ids(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The ids of calls, without what some clients strip from them."""
    return tuple(
        _NOT_IN_IDS.sub("", block.value.id)
        for block in blocks
        if isinstance(block.value, ToolUse)
    )


def _by_prefix(owner: str, prefix: str) -> str:
    return f"{owner} behind {prefix}"


def _by_ids(owner: str, ids: Sequence[str]) -> str:
    return f"{owner} calls {' '.join(ids)}"


def _key(ids: Sequence[str], said: Said) -> tuple[str, str]:
    text = said.text.encode("utf-8", "surrogatepass")
    calls = [part for name, made in said.calls for part in (name.encode(), made)]
    return _digest(" ".join(ids).encode()), _digest(text, *calls)


def _digest(*parts: bytes) -> str:
    found = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        # With lengths, so that no two are written alike.
        found.update(b"%d " % len(part))
        found.update(part)
    return found.hexdigest()
