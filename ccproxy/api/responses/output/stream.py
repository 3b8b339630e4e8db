"""Encodes an answer as the events of a response's stream. Pure.

==========  ==========================  ======================================
phase       entered by                  what was sent
==========  ==========================  ======================================
BEFORE      the start                   nothing, or ``created`` and ``queued``
BETWEEN     the model begins            also ``in_progress``; no item is open
MESSAGE     text                        an item and its part are open
REASONING   thinking                    an item and its part are open
REFUSAL     the provider's refusal      an item and its part are open
CALL        a tool call                 an item is open
SEARCH      a web search                an item is open
OVER        the end of the answer       all items; not yet the last event
==========  ==========================  ======================================

`conclude` encodes the last event. Call it when the outcome of storing is known.

Invariants: An item is done before the next item is added. A done item has the text of
its deltas. Each snapshot of the response has all items that are done. Only the last
event ends the response.

Source: the ``Response…StreamingEvent`` and ``ResponseResource`` components of Open
Responses, ``ResponseStreamEvent`` and ``Response`` of OpenAI.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.api.common.tools import ToolTable, agent_line, searched
from ccproxy.api.responses.encryption import Encryptor, encrypted_field
from ccproxy.api.responses.input.echo import Echo
from ccproxy.api.responses.output.annotations import Annotations
from ccproxy.api.responses.output.resource import (
    MESSAGE,
    REASONING,
    REFUSAL,
    EventEncoder,
    OutputPart,
    Resource,
    end_fields,
    failure_fields,
    resource,
    search_item,
    status_of,
    without_encrypted_content,
)
from ccproxy.api.responses.output.searches import PREFIX as SEARCH_PREFIX
from ccproxy.api.responses.output.searches import Searches
from ccproxy.api.responses.output.tool_calls import OpenCall
from ccproxy.core.blocks import Block, Opaque, RedactedThinking, Thinking, ToolUse
from ccproxy.core.encoding import Encode, WireEvent
from ccproxy.core.errors import CCProxyError
from ccproxy.core.fallbacks import fallback_model
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)


class _Phase(Enum):
    BEFORE = auto()
    BETWEEN = auto()
    MESSAGE = auto()
    REASONING = auto()
    REFUSAL = auto()
    CALL = auto()
    SEARCH = auto()
    OVER = auto()


_PARTS: Mapping[_Phase, OutputPart] = {
    _Phase.MESSAGE: MESSAGE,
    _Phase.REASONING: REASONING,
    _Phase.REFUSAL: REFUSAL,
}


class ResponseStream:
    """Encodes one response as a stream of events.

    Args:
        identifier: a part of the ids of the response and its items.
        echo: the fields of the request that the response repeats.
        wall_seconds: returns the Unix time.
        encryptor: encrypts content; None: items have no encrypted content.
        tools: the names of the client's tools.
        prefix: the hash of the conversation before the answer, which is encrypted with
            the answer's thinking; empty: unknown.

    Attributes:
        response: the response as in the last event that contains it.
    """

    def __init__(
        self,
        identifier: str,
        echo: Echo,
        wall_seconds: Callable[[], float],
        encryptor: Encryptor | None = None,
        tools: ToolTable | None = None,
        prefix: str = "",
    ) -> None:
        self._identifier = identifier
        self._echo = echo
        self._wall_seconds = wall_seconds
        self._encryptor = encryptor
        self._tools = tools or ToolTable()
        self._prefix = prefix
        self._created_at = int(wall_seconds())
        self._phase = _Phase.BEFORE
        self._was_queued = False
        self._replay = RestartFilter()
        self._encoder = EventEncoder()
        self._end_number = self._call_index = 0
        self._output: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._call: OpenCall | None = None
        self._searches = Searches(self._encoder, shows_sources=echo.shows_sources)
        self._annotations = Annotations(self._encoder)
        self.error: CCProxyError | None = None
        self.has_error_event = True
        self.model, self.usage = "", Usage()
        self.response = self._snapshot("queued")

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended, so that only `conclude` is still to call."""
        return self._phase is _Phase.OVER

    @property
    def output(self) -> Sequence[Mapping[str, Any]]:
        """The items that are done, with encrypted content."""
        return self._output

    def queue(self) -> Sequence[WireEvent]:
        """Encode ``created`` and ``queued``. Call it before all other methods."""
        self._was_queued = True
        return self._encoder.status_events(self.response.pieces, "created", "queued")

    @property
    def encoders(self) -> Sequence[Encode]:
        """One encoder, because there is one answer."""
        return (self.encode,)

    def encode(self, events: Sequence[Event]) -> Sequence[WireEvent]:
        """Encode events of the answer; a failure sets ``error``."""
        wire: list[WireEvent] = []
        for event in self._replay.filter(events):
            if self.is_over:
                break
            match event:
                case TextDelta(text):
                    wire += self._enter(_Phase.MESSAGE)
                    self._annotations.add(text)
                    wire.append(self._delta(text))
                case ThinkingDelta(text):
                    wire += self._enter(_Phase.REASONING)
                    wire.append(self._delta(text))
                case SignatureDelta(signature):
                    wire += self._signed(signature)
                case AgentToolUsed():
                    wire += self._enter(_Phase.BETWEEN)
                    wire += self._agent_tool(event)
                case ContentBlockStart(block, index):
                    wire += self._start(block, index)
                case InputJSONDelta(json, index):
                    self._searches.feed(json, index)
                    # Calls of the provider's other tools are not sent.
                    if self._call is not None and index == self._call_index:
                        wire += self._encoder.deltas(self._call.feed(json))
                case OpaqueDelta(raw):
                    self._annotations.delta(raw)
                case ContentBlockStop(index):
                    wire += self._annotations.events(self._place(MESSAGE.prefix))
                    if self._searches.end(index) and self._phase is _Phase.SEARCH:
                        place = self._place(SEARCH_PREFIX)
                        wire.append(self._searches.searching(place))
                case MessageStart(model):
                    self.model = model
                    wire += self._enter(_Phase.BETWEEN)
                case Finished():
                    wire += self._finish(event)
                case Failed(error):
                    wire += self._fail(error)
        return wire

    def cancel(self) -> Sequence[WireEvent]:
        """Encode the end of an answer that the client has cancelled."""
        wire = self._end("incomplete")
        self.response = self._snapshot("cancelled")
        return wire

    def conclude(self, error: CCProxyError | None = None) -> Sequence[WireEvent]:
        """Encode the last events, after the answer has ended.

        A second call replaces the events of the first, which must not have been sent.

        Args:
            error: an error after the end of the answer, such as a failure of the store.
        """
        self._encoder.go_back(self._end_number)
        if error is not None:
            self.error = error
            self.response = self.response.changed(failure_fields(error))
        kind = self.response.end_event
        shown = self.error if self.has_error_event else None
        told = [] if shown is None else [self._encoder.error(shown)]
        return [*told, *self._encoder.status_events(self.response.pieces, kind)]

    def _enter(self, phase: _Phase) -> list[WireEvent]:
        if phase is self._phase:
            return []
        wire = self._begin() if self._phase is _Phase.BEFORE else []
        wire += self._close("completed")
        self._phase = phase
        return wire + self._open() if phase in _PARTS else wire

    def _begin(self) -> list[WireEvent]:
        self.response = self._snapshot("in_progress")
        created = () if self._was_queued else ("created",)
        pieces = self.response.pieces
        return self._encoder.status_events(pieces, *created, "in_progress")

    def _open(self) -> list[WireEvent]:
        part = _PARTS[self._phase]
        item = part.item(self._item_id(part.prefix), "in_progress", None)
        place = {**self._place(part.prefix), part.index: 0}
        self._encoder.prepare(part.delta, {**place, **part.extra})
        return [
            self._added(item),
            self._encoder.event(part.added, **place, part=part.content("")),
        ]

    def _start(self, block: Block, index: int) -> list[WireEvent]:
        """Encode the start of a block. Calls and redacted thinking have events."""
        before = self._annotations.events(self._place(MESSAGE.prefix))
        self._annotations.begin_block(block)
        self.model = fallback_model(block) or self.model
        return [*before, *self._started(block, index)]

    def _started(self, block: Block, index: int) -> list[WireEvent]:
        match block.value:
            case RedactedThinking(data):
                secret = {"data": data}
                return self._enter(_Phase.BETWEEN) + self._whole_reasoning(secret)
            case Thinking() if self._phase is _Phase.REASONING:
                # A block before this one has had no signature.
                return self._enter(_Phase.BETWEEN)
            case ToolUse() as call:
                self._call_index = index
                return self._enter(_Phase.BETWEEN) + self._open_call(call)
            case Opaque():
                return self._server_tool(block, index)
            case _ if self._phase is _Phase.CALL:
                # The call is whole, even if the answer is cut off later.
                return self._enter(_Phase.BETWEEN)
        return []

    def _server_tool(self, block: Block, index: int) -> list[WireEvent]:
        """Encode a call of the provider's web search, or its result."""
        wire = self._enter(_Phase.BETWEEN) if self._call is not None else []
        if self._searches.begin(block, index) and self._phase is not _Phase.SEARCH:
            return [*wire, *self._enter(_Phase.BETWEEN), *self._open_search()]
        self._searches.take_result(block)
        while self._phase is _Phase.SEARCH and self._searches.has_result:
            wire += self._close_search()
        return wire

    def _open_search(self) -> list[WireEvent]:
        self._phase = _Phase.SEARCH
        return self._searches.opened(self._place(SEARCH_PREFIX))

    def _close_search(self) -> list[WireEvent]:
        """Encode the end of the open search, and the beginning of the next."""
        wire, item = self._searches.closed(self._place(SEARCH_PREFIX))
        wire.append(self._done(item))
        return [*wire, *self._open_search()] if self._searches.current else wire

    def _open_call(self, call: ToolUse) -> list[WireEvent]:
        self._phase = _Phase.CALL
        self._call = opened = OpenCall(call, self._tools.identity(call.name))
        place = self._place(opened.prefix)
        if opened.delta_event is not None:
            self._encoder.prepare(opened.delta_event, place)
        return [self._added(opened.item(place["item_id"], "in_progress"))]

    def _delta(self, text: str) -> WireEvent:
        self._text.append(text)
        return self._encoder.delta(text)

    def _close(
        self, status: str, secret: Mapping[str, str] | None = None
    ) -> list[WireEvent]:
        """Encode the end of the open item, if there is one."""
        if self._call is not None:
            return self._close_call(self._call, status)
        searches: list[WireEvent] = []
        while self._phase is _Phase.SEARCH:
            # A search without a result has failed.
            searches += self._close_search()
        if self._phase not in _PARTS:
            return searches
        part = _PARTS[self._phase]
        annotated = self._annotations.events(self._place(MESSAGE.prefix))
        place = {**self._place(part.prefix), part.index: 0}
        content = part.content("".join(self._text))
        self._text.clear()
        if part is MESSAGE:
            content["annotations"] = self._annotations.end_message()
        item = part.item(place["item_id"], status, content)
        if secret is not None:
            item |= self._encrypted({"thinking": content["text"], **secret})
        ended = part.ended(self._encoder, place, content)
        return [*annotated, *ended, self._done(item)]

    def _close_call(self, call: OpenCall, status: str) -> list[WireEvent]:
        self._call = None
        place = self._place(call.prefix)
        wire = call.ended(self._encoder, place, is_whole=status == "completed")
        return [*wire, self._done(call.item(place["item_id"], status))]

    def _signed(self, signature: str) -> list[WireEvent]:
        """Encode the end of a block of thinking; its signature is its last part."""
        if self._phase is _Phase.REASONING:
            return self._close("completed", {"signature": signature})
        # The block has no text, because the provider does not show it.
        secret = {"thinking": "", "signature": signature}
        return self._enter(_Phase.BETWEEN) + self._whole_reasoning(secret)

    def _agent_tool(self, use: AgentToolUsed) -> list[WireEvent]:
        """Encode a call of Claude Code's own tool as an item."""
        query = searched(use)
        if query is not None:
            item = search_item(self._item_id("ws"), query)
            return [self._added({**item, "status": "in_progress"}), self._done(item)]
        summary = REASONING.content(agent_line(use))
        item = REASONING.item(self._item_id(REASONING.prefix), "completed", summary)
        return [self._added({**item, "summary": []}), self._done(item)]

    def _whole_reasoning(self, secret: Mapping[str, str]) -> list[WireEvent]:
        item = REASONING.item(self._item_id(REASONING.prefix), "completed", None)
        return [self._added(item), self._done({**item, **self._encrypted(secret)})]

    def _encrypted(self, secret: Mapping[str, str]) -> Mapping[str, str]:
        return encrypted_field(self._encryptor, secret, self.model, self._prefix)

    def _added(self, item: Mapping[str, Any]) -> WireEvent:
        return self._encoder.event(
            "response.output_item.added", output_index=len(self._output), item=item
        )

    def _done(self, item: dict[str, Any]) -> WireEvent:
        index = len(self._output)
        self._output.append(item)
        self._phase = _Phase.BETWEEN
        return self._encoder.event(
            "response.output_item.done", output_index=index, item=self._shown(item)
        )

    def _end(self, status: str) -> list[WireEvent]:
        wire = self._begin() if self._phase is _Phase.BEFORE else []
        wire += self._close(status)
        self._phase = _Phase.OVER
        self._end_number = self._encoder.next_number
        return wire

    def _finish(self, end: Finished) -> list[WireEvent]:
        status = status_of(end)
        wire = self._refuse(end.refusal) if end.refusal else []
        wire += self._end(status)
        self.usage = end.usage
        at_end = end_fields(end, int(self._wall_seconds()))
        self.response = self._snapshot(status).changed(at_end)
        return wire

    def _refuse(self, words: str) -> list[WireEvent]:
        """Encode the provider's explanation of a refusal as an item."""
        wire = self._begin() if self._phase is _Phase.BEFORE else []
        wire += self._close("incomplete")
        self._phase = _Phase.BETWEEN
        wire += self._enter(_Phase.REFUSAL)
        return [*wire, self._delta(words), *self._close("completed")]

    def _fail(self, error: CCProxyError) -> list[WireEvent]:
        self.error = error
        wire = self._end("incomplete")
        self.response = self._snapshot("failed").changed(failure_fields(error))
        return wire

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}_{self._identifier}{len(self._output):04x}"

    def _place(self, prefix: str) -> dict[str, Any]:
        return {"item_id": self._item_id(prefix), "output_index": len(self._output)}

    def _shown(self, item: dict[str, Any]) -> dict[str, Any]:
        return item if self._echo.shows_encrypted else without_encrypted_content(item)

    def _snapshot(self, status: str) -> Resource:
        return resource(
            identifier=self._identifier,
            created_at=self._created_at,
            status=status,
            model=self.model or self._echo.model,
            output=[self._shown(item) for item in self._output],
            echo=self._echo,
        )
