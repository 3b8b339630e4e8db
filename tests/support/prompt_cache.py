"""The provider's prompt cache, as it counts: what a request reads, writes and costs.

The cache knows prefixes of requests, in render order: tools, system, messages. An entry
is written at a breakpoint, and can be read by a breakpoint at the same block or at most
19 blocks behind it. A token is four bytes of JSON, so that a price depends on the bytes
that were sent and on nothing else.

What is not known of the provider is what costs more: an entry within a prefix that is
read is not renewed unless it has a breakpoint, and no entry is made there.

Source: rules 41 to 46 of the Messages API (docs/messages-api-rules.md); the provider's
page "Prompt caching" for prices, shortest lengths and what a change loses; Claude
Code's page "LLM gateway protocol" for the attribution, which the provider takes out.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Self

from attrs import define, evolve, field, frozen
from typing_extensions import override

from ccproxy.server.fake_upstream import RecordedRequest
from ccproxy.server.scripted_reply import Reply
from tests.support.upstream import RefusingAPI

LOOKBACK_BLOCKS = 20
READ_PRICE = 0.1
WRITE_PRICES: Mapping[str, float] = {"5m": 1.25, "1h": 2.0}
SECONDS: Mapping[str, float] = {"5m": 300.0, "1h": 3600.0}

_BYTES_PER_TOKEN = 4
_ATTRIBUTION = "x-anthropic-billing-header:"
# The first that matches the model's id.
_MINIMUM_TOKENS: Sequence[tuple[str, int]] = (
    (r"opus-5|fable|mythos", 512),
    (r"opus-4-7", 2048),
    (r"opus-4-[56]|haiku", 4096),
    (r"", 1024),
)


def minimum_tokens(model: str) -> int:
    """The length of the shortest prefix of a model that is cached."""
    return next(least for name, least in _MINIMUM_TOKENS if re.search(name, model))


@frozen
class Block:
    """A block of a request with everything before it.

    Attributes:
        prefix: the hash of the request up to the block's end.
        tokens: the tokens up to the block's end.
        ttl: the time to live of the breakpoint at the block; None: it has none.
    """

    prefix: bytes
    tokens: int
    ttl: str | None


def blocks(body: Mapping[str, Any], *, counts_attribution: bool = False) -> list[Block]:
    """The blocks of a request in render order.

    Args:
        body: of a request to ``/v1/messages``.
        counts_attribution: whether the CLI's attribution is a part of the prompt, as it
            is for a gateway that does not know it.
    """
    found: list[Block] = []
    digest = blake2b(_told(body, "model", "speed"), digest_size=16)
    tokens = 0

    def add(role: str, block: Mapping[str, Any]) -> None:
        nonlocal tokens
        bare = {key: value for key, value in block.items() if key != "cache_control"}
        raw = json.dumps([role, bare]).encode()
        digest.update(b"%d " % len(raw) + raw)
        tokens += -(-len(raw) // _BYTES_PER_TOKEN)
        marker = block.get("cache_control")
        ttl = marker.get("ttl", "5m") if marker else None
        found.append(Block(digest.digest(), tokens, ttl))

    for tool in body.get("tools", ()):
        add("tool", tool)
    # The schema of an answer is a part of the system prompt.
    digest.update(_told(body.get("output_config") or {}, "format"))
    for block in _content(body.get("system") or []):
        if counts_attribution or not block.get("text", "").startswith(_ATTRIBUTION):
            add("system", block)
    digest.update(_told(body, "tool_choice", "thinking"))
    digest.update(_told(body.get("output_config") or {}, "effort"))
    digest.update(b"images" if _has_image(body["messages"]) else b"")
    for message in body["messages"]:
        for block in _content(message["content"]):
            add(message["role"], block)
    top = body.get("cache_control")
    if top and found and found[-1].ttl is None:
        found[-1] = evolve(found[-1], ttl=top.get("ttl", "5m"))
    return found


def _told(fields: Mapping[str, Any], *names: str) -> bytes:
    return json.dumps([fields.get(name) for name in names]).encode()


def _content(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _has_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("type") == "image" or any(map(_has_image, value.values()))
    return isinstance(value, list) and any(map(_has_image, value))


@frozen(kw_only=True)
class Count:
    """The input tokens of requests.

    Attributes:
        written: written tokens by time to live.
    """

    uncached: int = 0
    read: int = 0
    written: Mapping[str, int] = field(factory=dict)

    @property
    def tokens(self) -> int:
        """All input tokens."""
        return self.uncached + self.read + sum(self.written.values())

    @property
    def cost(self) -> float:
        """The cost, in tokens at the price without a cache."""
        written = sum(WRITE_PRICES[ttl] * n for ttl, n in self.written.items())
        return self.uncached + READ_PRICE * self.read + written

    @property
    def usage(self) -> Mapping[str, Any]:
        """``usage`` of the answer."""
        return {
            "input_tokens": self.uncached,
            "cache_read_input_tokens": self.read,
            "cache_creation_input_tokens": sum(self.written.values()),
            "cache_creation": {
                f"ephemeral_{ttl}_input_tokens": self.written.get(ttl, 0)
                for ttl in SECONDS
            },
        }

    def __add__(self, other: Self) -> Self:
        written = {
            ttl: self.written.get(ttl, 0) + other.written.get(ttl, 0) for ttl in SECONDS
        }
        return type(self)(
            uncached=self.uncached + other.uncached,
            read=self.read + other.read,
            written={ttl: count for ttl, count in written.items() if count},
        )


@define
class _Entry:
    ttl: str
    expires: float


@define(eq=False)
class PromptCache:
    """The cache of one workspace.

    Attributes:
        now: the time in seconds; set it to let time pass.
        counts_attribution: see `blocks`.
        is_ideal: every block has an entry, and can be read from any distance: no
            placement of breakpoints can be cheaper.
        ideal_ttl: the time to live of these entries.
    """

    counts_attribution: bool = False
    is_ideal: bool = False
    ideal_ttl: str = "5m"
    now: float = 0.0
    _entries: dict[bytes, _Entry] = field(factory=dict, init=False)

    def look_up(self, body: Mapping[str, Any]) -> tuple[Count, Callable[[], None]]:
        """Count a request that arrives now.

        Returns:
            The count, and the function that writes the entries: call it when the answer
            begins, because only then others can read them (rule 45).
        """
        told = blocks(body, counts_attribution=self.counts_attribution)
        if self.is_ideal:
            told = [evolve(block, ttl=self.ideal_ttl) for block in told]
        least = minimum_tokens(body["model"])
        marked = [n for n, b in enumerate(told) if b.ttl and b.tokens >= least]
        hit = max((n for n in self._readable(told, marked)), default=-1)
        self._renew(told, {hit, *marked} if hit >= 0 else set(marked))
        done = told[hit].tokens if hit >= 0 else 0
        count = Count(read=done)
        for number in marked:
            if number > hit:
                block = told[number]
                count += Count(written={block.ttl or "": block.tokens - done})
                done = block.tokens
        total = told[-1].tokens if told else 0
        new = [told[number] for number in marked if number > hit]
        return count + Count(uncached=total - done), lambda: self._write(new)

    def _readable(self, told: Sequence[Block], marked: Sequence[int]) -> Iterator[int]:
        """The blocks whose entries the breakpoints find."""
        for place in marked:
            for number in range(place, max(place - LOOKBACK_BLOCKS, -1), -1):
                entry = self._entries.get(told[number].prefix)
                if entry is not None and entry.expires > self.now:
                    yield number
                    break

    def _renew(self, told: Sequence[Block], numbers: set[int]) -> None:
        for number in numbers:
            entry = self._entries.get(told[number].prefix)
            if entry is not None and entry.expires > self.now:
                entry.expires = self.now + SECONDS[entry.ttl]

    def _write(self, new: Sequence[Block]) -> None:
        for block in new:
            ttl = block.ttl or "5m"
            self._entries[block.prefix] = _Entry(ttl, self.now + SECONDS[ttl])


class CachingAPI(RefusingAPI):
    """A scripted Messages API whose usage is what its cache counts.

    Attributes:
        cache: the cache.
        counted: the count of each request that was answered, in the order of arrival.
    """

    def __init__(
        self, reactor: Any, cache: PromptCache, *, strict: bool = True
    ) -> None:
        super().__init__(reactor, strict=strict)
        self.cache = cache
        self.counted: list[Count] = []

    @override
    def reply_to(self, request: RecordedRequest) -> Reply:
        reply = super().reply_to(request)
        if reply.status != 200:
            return reply
        count, begin = self.cache.look_up(request.body)
        self.counted.append(count)
        if reply.before is None:
            begin()
        else:
            reply.before.addCallback(lambda result: [result, begin()][0])
        return evolve(reply, usage=count.usage)
