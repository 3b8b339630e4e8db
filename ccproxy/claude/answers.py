"""Remembers the model's messages, for clients that do not send them back unchanged.

In a loop of tool calls, a model can use its earlier thinking only if the request has
all messages of the model unchanged, with the signed thinking. Many clients drop the
thinking, change ids or reformat arguments. So the proxy remembers each message as the
model made it. The remembered message replaces the client's copy if both have the same
`AnswerContent`.

A message is looked up by the client's key, the login, the model, and the hash of
everything before the message (`ccproxy.claude.body.turns`). Newer models refuse
thinking after any other prefix. For older models, a message is also looked up by the
ids of its calls, because some clients change earlier messages.

A client of OpenAI's APIs cannot send back what the provider's own tools have found. So
messages with blocks of these tools are remembered, too, even if they have no calls of
the client's tools.

After a restart, or on another server, the memory is empty. So the messages of a request
are first looked up in the store (`SharedAnswers`), by a hash of the ids of their calls
and a hash of their content. This module then compares the prefixes. If nothing is
found, the client's copy is sent, without thinking.
"""

import re
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec
from attrs import define, field, frozen
from msgspec import Raw

from ccproxy.claude.answer_cache import (
    AnswerContent,
    InMemoryAnswers,
    RememberedAnswer,
    answer_content,
)
from ccproxy.claude.body.models import is_same_model
from ccproxy.core.blocks import (
    Block,
    Opaque,
    RedactedThinking,
    SearchCopy,
    Thinking,
    ToolUse,
)
from ccproxy.core.messages import Message

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9]")
# Answers whose ids begin alike are compared by their content.
_LONGEST_ID = 1_000
_MOST_PLAIN = 4_096
_DIGEST_BYTES = 16


class SharedAnswers(Protocol):
    """A store of answers that outlives this process; answers are opaque to it.

    A key is two hashes: of the ids of the answer's calls, and of its content.
    """

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        """Store an answer in the background; never raises."""

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """The answers of an owner for which either hash matches, oldest first.

        Empty if the store takes too long, or fails.
        """


class _Document(msgspec.Struct, frozen=True):
    """An answer as it is stored."""

    prefix: str
    model: str
    blocks: list[Raw]


_read_document = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


@define
class RememberedAnswers:
    """Remembers the model's messages.

    Attributes:
        account: the account of the CLI's login. Signed thinking is valid for one
            account only, so answers of another account are not found.
        shared: the store of messages; None: they are kept in memory only.
    """

    _cache: InMemoryAnswers
    account: str = ""
    shared: SharedAnswers | None = None
    # Keys of this process's messages without thinking. They need no lookup.
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
        """Remember a message of the model.

        Args:
            owner: the id of the client's key.
            prefix: the hash of everything before the message.
            blocks: the whole content, as the model made it.
            model: the full id of the model that made the message.
            now: monotonic seconds.
            is_shared: whether the message may be written to the store.
        """
        # The provider does not accept thinking without a signature.
        blocks = [
            block for block in blocks if _is_signed(block) or not _is_thought(block)
        ]
        owner_key, ids = self._owner_key(owner), _ids(blocks)
        if not _has_server_tool(blocks) and not any(map(_is_signed, blocks)):
            # Such a message need not replace the client's copy, which lacks nothing.
            self._note_plain(_by_ids(owner_key, ids))
            return
        answer = self._keep(owner_key, prefix, blocks, model, now)
        can_be_found = ids or _has_server_tool(blocks)
        if self.shared is not None and is_shared and can_be_found:
            document = _Document(prefix, model, [Raw(b.raw) for b in blocks])
            key = _shared_key(ids, answer.content)
            self.shared.put(_digest(owner_key.encode()), key, _encode(document))

    def missing_keys(
        self, owner: str, messages: Sequence[Message], now: float
    ) -> Generator[None, None, list[tuple[str, str]]]:
        """The keys of the messages that should be looked up in the store.

        A message is looked up if it has calls, is not in memory, and comes from the
        client without its thinking, or without the results of a search. Yields after
        each of the assistant's turns.
        """
        keys: dict[tuple[str, str], None] = {}
        owner_key = self._owner_key(owner)
        for run in _assistant_runs(messages):
            whole = [block for message in run for block in message]
            has_search = any(isinstance(b.value, SearchCopy) for b in whole)
            if any(_is_signed(block) for block in whole) and not has_search:
                continue
            for client_copy in (whole, *run) if len(run) > 1 else (whole,):
                ids = _ids(client_copy)
                if ids and not self._is_known(_by_ids(owner_key, ids), now):
                    keys[_shared_key(ids, answer_content(client_copy))] = None
            if has_search and not _ids(whole):
                content = answer_content(whole)
                if not self._is_known(_by_content(owner_key, content), now):
                    keys[_shared_key((), content)] = None
            yield
        return list(keys)

    async def find_shared(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """Look up a client's answers in the store; the result is for `add_shared`."""
        if self.shared is None or not keys:
            return ()
        return await self.shared.find(_digest(self._owner_key(owner).encode()), keys)

    def add_shared(
        self, owner: str, documents: Sequence[bytes], now: float
    ) -> Iterator[None]:
        """Load answers from the store into memory; yields after each."""
        owner_key = self._owner_key(owner)
        for document in documents:
            try:
                read = _read_document(document)
                blocks = [Block.decode(raw) for raw in read.blocks]
            except msgspec.DecodeError:
                # Another version of the proxy wrote it; the client's copy is sent.
                continue
            self._keep(owner_key, read.prefix, blocks, read.model, now)
            yield

    def _keep(
        self,
        owner_key: str,
        prefix: str,
        blocks: Sequence[Block],
        model: str,
        now: float,
    ) -> RememberedAnswer:
        answer = RememberedAnswer(
            owner=owner_key,
            prefix=prefix,
            model=model,
            blocks=tuple(blocks),
            content=answer_content(blocks),
        )
        self._cache.put(_by_prefix(owner_key, prefix), answer, now)
        ids = _ids(blocks)
        if ids:
            self._cache.put(_by_ids(owner_key, ids), answer, now)
        elif _has_server_tool(blocks):
            self._cache.put(_by_content(owner_key, answer.content), answer, now)
        return answer

    def _note_plain(self, key: str) -> None:
        self._plain[key] = None
        if len(self._plain) > _MOST_PLAIN:
            self._plain.popitem(last=False)

    def _is_known(self, key: str, now: float) -> bool:
        return key in self._plain or bool(self._cache.get(key, now))

    def of(self, owner: str, now: float) -> "ClientAnswers":
        """The remembered answers to one client."""
        return ClientAnswers(self._cache, self._owner_key(owner), now)

    def forget(self) -> None:
        """Clear the memory; the store keeps its answers."""
        self._cache.clear()
        self._plain.clear()

    def _owner_key(self, owner: str) -> str:
        return f"{len(owner)} {owner} {self.account}"


@frozen
class ClientAnswers:
    """The answers to one client; implements the composer's ``Recall``."""

    _cache: InMemoryAnswers
    _owner: str
    _now: float

    def find(
        self,
        prefix: str,
        client_copy: Sequence[Block],
        model_id: str,
        *,
        is_bound: bool,
    ) -> Sequence[Block] | None:
        """An answer as the model made it; None: no answer has this content.

        Args:
            prefix: the hash of everything before the answer.
            client_copy: the blocks of the client's copy.
            model_id: the model that the answer will be sent to.
            is_bound: whether the answer must have been made after ``prefix``.
        """
        keys = [_by_prefix(self._owner, prefix)]
        if not is_bound and (ids := _ids(client_copy)):
            keys.append(_by_ids(self._owner, ids))
        wanted: AnswerContent | None = None
        for key in keys:
            for answer in self._cache.get(key, self._now):
                if not is_same_model(answer.model, model_id):
                    continue
                if wanted is None:
                    wanted = answer_content(client_copy)
                if answer.content == wanted:
                    return answer.blocks
        return None


def _assistant_runs(
    messages: Sequence[Message],
) -> Iterator[Sequence[Sequence[Block]]]:
    """Each run of consecutive assistant messages, as the blocks of each message."""
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


def _has_server_tool(blocks: Sequence[Block]) -> bool:
    """Whether there is a block, such as a search, that some clients never send back."""
    return any(isinstance(block.value, Opaque) for block in blocks)


def _ids(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The ids of calls, without the characters that some clients remove."""
    return tuple(
        _NOT_IN_IDS.sub("", block.value.id[:_LONGEST_ID])
        for block in blocks
        if isinstance(block.value, ToolUse)
    )


def _by_prefix(owner: str, prefix: str) -> str:
    return f"{owner} behind {prefix}"


def _by_ids(owner: str, ids: Sequence[str]) -> str:
    return f"{owner} calls {' '.join(ids)}"


def _by_content(owner: str, content: AnswerContent) -> str:
    return f"{owner} content {_content_digest(content)}"


def _shared_key(ids: Sequence[str], content: AnswerContent) -> tuple[str, str]:
    """The key in the store; without calls, both hashes are that of the content."""
    by_content = _content_digest(content)
    return _digest(" ".join(ids).encode()) if ids else by_content, by_content


def _content_digest(content: AnswerContent) -> str:
    text = content.text.encode("utf-8", "surrogatepass")
    calls = [part for name, made in content.calls for part in (name.encode(), made)]
    return _digest(text, *calls)


def _digest(*parts: bytes) -> str:
    found = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        # The length keeps different parts with the same concatenation apart.
        found.update(b"%d " % len(part))
        found.update(part)
    return found.hexdigest()
