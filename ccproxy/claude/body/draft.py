"""The corrected parts of a request, and their encoding as a body. Pure."""

from collections.abc import Sequence

import msgspec
from attrs import evolve, frozen
from msgspec import Raw

from ccproxy.claude.body.cache import Breakpoints
from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.options import (
    NEVER_SENT,
    ComposeOptions,
    has_beta,
    sort_fields,
)
from ccproxy.claude.body.output import OutputChoice
from ccproxy.claude.body.paths import BodyPaths
from ccproxy.claude.body.reading import first_text
from ccproxy.claude.body.result import ComposedBody, Notes, ShapingPlan
from ccproxy.claude.body.thinking import ThinkingChoice
from ccproxy.claude.body.tools import (
    append_text,
    call_request,
    can_append_text,
    choice_field,
)
from ccproxy.claude.body.turns import Turn, is_thinking
from ccproxy.core.blocks import Block, ToolUse, is_blank, text_block, tool_result_block
from ccproxy.core.errors import RequestTooLarge
from ccproxy.core.messages import MessagesRequest, Tool, ToolChoice

# The CLI's user message for a conversation without text of the user.
_NO_TEXT = "."
_ANY = ToolChoice("any")
_PROSE = "Do not answer in prose."

_encode = msgspec.json.Encoder().encode


@frozen(kw_only=True)
class Draft:
    """The parts of a request, corrected.

    Attributes:
        model: the model's name for the CLI's settings.
        system_messages: whether turns may have the role ``system``.
        max_tokens: None: the CLI's default.
        choice: the client's ``tool_choice``; None: there are no tools.
        turns: the client's turns.
    """

    request: MessagesRequest
    model: str
    options: ComposeOptions
    notes: Notes
    system: str
    rules: ModelRules
    system_messages: bool
    max_tokens: int | None
    tools: list[Tool]
    choice: ToolChoice | None
    output: OutputChoice
    thinking: ThinkingChoice
    turns: list[Turn]

    @property
    def has_thinking(self) -> bool:
        """Whether a turn has thinking."""
        return any(is_thinking(b) for turn in self.turns for b in turn.blocks)

    @property
    def is_shaped_by_proxy(self) -> bool:
        """Whether a text or tool of the proxy, or a prefill, precedes the answer."""
        is_begun = self.turns[-1].role == "assistant"
        return is_begun or bool(self._words()) or self.output.tool is not None

    @property
    def _is_forced(self) -> bool:
        """Whether a required call is sent as ``tool_choice``."""
        if self.options.forward_tool_choice:
            return True
        return self.rules.takes_forced_tool_choice and self.thinking.is_off

    @property
    def _demanded(self) -> tuple[str, ...]:
        """The client's tools, one of which the model must call."""
        choice = self.choice
        if choice is None or not choice.must_call:
            return ()
        if choice.type == "tool":
            return (choice.name or "",)
        return tuple(t.value.name for t in self.request.tools if t.value.name)

    def plan(self) -> ShapingPlan:
        """The changes that the proxy has to make to the answer."""
        if self._demanded and not self._is_forced:
            self.notes.adjust(self.notes.name("tool_choice"))
        plan = ShapingPlan(
            demanded=() if self._is_forced else self._demanded,
            answer_tool=self.output.answer_tool,
            format_schema=self.output.schema if self.output.format else None,
        )
        if self.rules.is_prefix_bound and not plan.is_empty:
            plan = evolve(plan, signed_parts=0 if self.is_shaped_by_proxy else 1)
        stops = tuple(s for s in self.request.stop_sequences if is_blank(s))
        if stops and plan.is_empty:
            # The provider refuses these sequences, so the proxy ends the answer there.
            self.notes.adjust(self.notes.name("stop_sequences"))
            return ShapingPlan(stops=stops)
        if stops:
            # The proxy requires a format or a call, so the answer is not cut.
            self.notes.ignore(self.notes.name("stop_sequences"))
        return plan

    def body(self) -> ComposedBody:
        """The body of the request."""
        return self._body(self._words())

    def _words(self) -> str:
        if self._is_forced:
            return ""
        if self._demanded:
            return f"{call_request(self._demanded)} {_PROSE}"
        tool = self.output.answer_tool
        if tool is None:
            return ""
        return f"Give your final answer by calling the tool `{tool.name}`. {_PROSE}"

    def again(self, first_answer: Sequence[Block], words: str) -> ComposedBody | None:
        """The body of a second request, after an unacceptable first answer.

        Args:
            first_answer: the first answer, as the model made it.
            words: the text to the model.

        Returns:
            None if there is no place for the text: the first answer is empty, and the
            conversation ends with results.
        """
        first = self._words()
        kept = list(first_answer)
        while kept and is_thinking(kept[-1]):
            kept.pop()
        if kept:
            reply = Turn("user", _reply(kept, words))
            return self._body(first, [Turn("assistant", kept), reply])
        if can_append_text(self.turns, system_messages=self.system_messages):
            return self._body(f"{first} {words}".strip())
        return None

    def _body(self, words: str, appended: Sequence[Turn] = ()) -> ComposedBody:
        """Encode the client's turns, a text to the model, and turns of the proxy."""
        marks = Breakpoints(
            self.notes,
            self.options.cache_ttl,
            self._top_level_marker(),
            has_beta(self.options.betas, "cache_control.scope"),
            has_system=bool(self.system),
            wish=self.request.cache,
        )
        tools, turns = marks.mark(self.tools, self.turns)
        if words:
            turns = append_text(turns, words, system_messages=self.system_messages)
        turns += appended
        fields: dict[str, object] = {
            name: value
            for name, value in self.options.operator_body.items()
            # The CLI's and the proxy's breakpoints use up the provider's limit.
            if name not in NEVER_SENT and name != "cache_control"
        }
        fields.update(self._fields())
        for name in ("tools", "messages"):
            fields.pop(name, None)
        encoded = _encode(fields)
        parts = [encoded[:-1]]
        if self.tools:
            parts += [b',"tools":[', b",".join([tool.raw for tool in tools]), b"]"]
        parts += [b',"messages":[', b",".join([t.encode() for t in turns]), b"]}"]
        json = b"".join(parts)
        if not fields:
            json = b"{" + json[2:]
        size = len(json) + len(self.system.encode())
        if size > self.options.largest_bytes:
            raise RequestTooLarge(
                f"the request to the model's API would have {size} bytes; the limit is "
                f"{self.options.largest_bytes}"
            )
        return ComposedBody(
            model=self.model,
            system=self.system,
            effort=self.thinking.effort,
            first_text=self._first_text(),
            json=json,
            cache_ttl=marks.ttl,
            client_path=BodyPaths(turns, tools, self.request.paths).client_path,
        )

    def _first_text(self) -> str:
        """The first text of the user; the same in every request of a conversation."""
        return first_text(self.request.messages) or first_text(self.turns) or _NO_TEXT

    def _top_level_marker(self) -> Raw | None:
        marker = self.request.extra.get("cache_control")
        if marker is None or bytes(marker).strip() == b"null":
            return None
        return marker

    def _fields(self) -> dict[str, object]:
        """All top-level fields except ``tools`` and ``messages``."""
        request, options = self.request, self.options
        sent: dict[str, object] = dict(
            sort_fields(
                {k: v for k, v in request.extra.items() if k != "cache_control"},
                self.rules,
                options.betas,
                self.notes,
                thinks=not self.thinking.is_off,
                forward_sampling=options.forward_sampling,
            )
        )
        if self.max_tokens is not None:
            sent["max_tokens"] = self.max_tokens
        stops = [s for s in request.stop_sequences if not is_blank(s)]
        if stops:
            sent["stop_sequences"] = stops
        if self.thinking.json is not None:
            sent["thinking"] = self._thinking(self.thinking.json)
            if self._must_clear_context_management():
                sent.setdefault("context_management", None)
        config = self._output_config()
        if config:
            sent["output_config"] = config
        choice = self._tool_choice()
        if choice is not None:
            sent["tool_choice"] = choice
        return sent

    def _must_clear_context_management(self) -> bool:
        """Whether the CLI's ``context_management`` has to be removed.

        With this field, the CLI asks the provider to keep thinking
        (``clear_thinking_20251015``), which the provider refuses if thinking is off.
        """
        is_sent = has_beta(self.options.betas, "context_management")
        return is_sent and self.thinking.form in ("disabled", "between_tools")

    def _thinking(self, raw: bytes) -> Raw:
        """``thinking`` without the parts whose beta is missing."""
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
        betas, count = self.options.betas, len(fields)
        binding, updates = "thinking.block_binding", "thinking.display.updates"
        if "block_binding" in fields and not has_beta(betas, binding):
            self.notes.ignore(self.notes.name(binding))
            del fields["block_binding"]
        display = bytes(fields.get("display", b""))
        if display == b'"updates"' and not has_beta(betas, updates):
            self.notes.adjust(self.notes.name("thinking.display"))
            fields["display"] = Raw(b'"summarized"')
        elif len(fields) == count:
            return Raw(raw)
        return Raw(_encode(fields))

    def _output_config(self) -> dict[str, object]:
        """``output_config`` without ``effort``, which is a setting of the CLI's."""
        given = self.request.output_config
        config: dict[str, object] = {}
        if given is not None:
            for name, value in given.fields.items():
                path = f"output_config.{name}"
                if name in ("effort", "format") or bytes(value).strip() == b"null":
                    continue
                if not has_beta(self.options.betas, path):
                    self.notes.ignore(self.notes.name(path))
                    continue
                config[name] = value
        if self.output.format is not None:
            config["format"] = Raw(self.output.format)
        return config

    def _tool_choice(self) -> dict[str, object] | None:
        choice = self.choice
        tool = self.output.answer_tool
        forced = self._is_forced
        if tool is None:
            return choice_field(choice, forced=forced)
        if len(self.tools) == 1:
            if forced:
                return {"type": "tool", "name": tool.name}
            return None
        wanted = msgspec.structs.replace(choice or _ANY, type="any")
        sent = choice_field(wanted, forced=forced)
        return None if sent == {"type": "auto"} else sent


def _reply(first_answer: Sequence[Block], words: str) -> list[Block]:
    """The user's turn after an answer: an error for each call, or else a text."""
    return [
        tool_result_block(block.value.id, words, is_error=True)
        for block in first_answer
        if isinstance(block.value, ToolUse)
    ] or [text_block(words)]
