"""From a Messages request to the body that the CLI merges into its own. Pure.

What the client sent goes up as it came. Only what the provider would refuse is mended,
and each mending is named by the client's path. A body is a function of the request and
of what the proxy remembers of its own answers: which process answers makes no
difference, and a turn that is appended leaves what stands before it byte for byte the
same, breakpoints aside.

Source: the rules of the Messages API as the project has noted them; protocol notes,
"The body set whole".
"""

from collections.abc import Generator, Iterator, Mapping, Sequence

import msgspec
from attrs import evolve, field, frozen
from msgspec import Raw

from ccproxy.claude.body.cache import Breakpoints, CacheTTL
from ccproxy.claude.body.choice import (
    check_choice,
    has_room_for_words,
    native_choice,
    order,
    with_words,
)
from ccproxy.claude.body.composed import ComposedBody
from ccproxy.claude.body.fields import (
    NESTED_BETAS,
    NEVER_SENT,
    has_beta,
    sort_fields,
)
from ccproxy.claude.body.history import (
    History,
    HistoryRules,
    Recall,
    begins_with_thinking,
    cut_prefill,
    ends_in_server_tool,
)
from ccproxy.claude.body.models import ModelRules, rules_for
from ccproxy.claude.body.notes import Notes
from ccproxy.claude.body.output import OutputChoice, choose_output
from ccproxy.claude.body.paths import BodyPaths
from ccproxy.claude.body.placement import leading_system_text
from ccproxy.claude.body.plan import Plan
from ccproxy.claude.body.prefix import Prefix
from ccproxy.claude.body.thinking import ThinkingChoice, choose_thinking
from ccproxy.claude.body.tools import called_tools, compose_tools
from ccproxy.claude.body.turns import Turn, is_thinking, read_turn
from ccproxy.claude.shaping import AnswerShaper, make_shaper
from ccproxy.core.messages import (
    Block,
    MessagesRequest,
    Text,
    Tool,
    ToolChoice,
    ToolUse,
    is_blank,
    text_block,
    tool_result_block,
)
from ccproxy.errors import InvalidRequest, RequestTooLarge

# What the CLI is told of a conversation in which the user says no word.
_NO_TEXT = "."
_MOST_MESSAGES = 100_000
# The provider takes 32 MB a request; the CLI's own fields need room in it.
LARGEST_BYTES = 31_000_000
_SLICE = 1_000
_PROSE = "Do not answer in prose."

_encode = msgspec.json.Encoder().encode


@frozen(kw_only=True)
class ComposeOptions:
    """What the operator and the CLI's processes decide.

    Attributes:
        forward_sampling: temperature and its like go up where the model takes them.
        forward_tool_choice: a demanded call goes up as it is, whatever is known of the
            model.
        cache_ttl: how long the cache keeps what it is told to keep where the client
            says nothing; None: the CLI's own default.
        operator_body: the operator's own ``CLAUDE_CODE_EXTRA_BODY``; ours goes before
            it, field by field.
        betas: those that the CLI's processes ask the provider for.
        system_messages: whether the provider's host has turns of role ``system``.
        largest_bytes: of a body, its system prompt included.
    """

    forward_sampling: bool = False
    forward_tool_choice: bool = False
    cache_ttl: CacheTTL | None = None
    operator_body: Mapping[str, Raw] = field(factory=dict)
    betas: frozenset[str] = frozenset()
    system_messages: bool = True
    largest_bytes: int = LARGEST_BYTES


@frozen(kw_only=True)
class Composition:
    """A question, ready to be asked.

    Attributes:
        adjusted: the client's fields that went up in another form.
        ignored: the client's fields that did not go up.
        plan: what has to be done to the answer.
        prefix: the hash of what stands before the answer, which the answer is
            remembered by, and sealed with.
        model_id: the full id of the model, as far as it is known.
        is_remembered: whether the answer may be remembered: it is the client's own
            turn, with no words or tool of ours before it.
    """

    body: ComposedBody
    adjusted: tuple[str, ...]
    ignored: tuple[str, ...]
    plan: Plan
    prefix: str
    model_id: str
    is_remembered: bool
    _parts: "_Parts" = field(repr=False, eq=False)

    def without_thinking(self) -> "Composition | None":
        """The same question without any thinking in its history; None: there is none.

        For the provider's error that thinking is bound to another conversation.
        """
        if not any(is_thinking(b) for turn in self._parts.turns for b in turn.blocks):
            return None
        return run(_compose(evolve(self._parts.source, drops_thinking=True)))

    def shaper(self) -> AnswerShaper:
        """What shapes the answer; a new one for each time that it begins."""
        tools = self._parts.tools
        ours = self.plan.answer_tool
        names = {tool.value.name for tool in tools if tool.value.name}
        return make_shaper(
            self.plan, self.again, names - ({ours.name} if ours is not None else set())
        )

    def again(self, said: Sequence[Block], words: str) -> ComposedBody | None:
        """The question once more, because the answer would not do.

        Args:
            said: the answer, as the model made it.
            words: what to tell the model.

        Returns:
            None if there is no place for the words: the answer is empty, and the
            conversation ends with results.
        """
        return self._parts.again(said, words)


@frozen(kw_only=True)
class _Source:
    """All that a composition is made of."""

    request: MessagesRequest
    model: str
    model_id: str
    effort: str | None
    remembered: Recall | None
    options: ComposeOptions
    drops_thinking: bool = False


def compose(
    request: MessagesRequest,
    *,
    model: str,
    model_id: str = "",
    effort: str | None = None,
    remembered: Recall | None = None,
    options: ComposeOptions | None = None,
) -> Composition:
    """Compose the body for a request, in one go; see `composing`."""
    steps = composing(
        request,
        model=model,
        model_id=model_id,
        effort=effort,
        remembered=remembered,
        options=options,
    )
    return run(steps)


def composing(
    request: MessagesRequest,
    *,
    model: str,
    model_id: str = "",
    effort: str | None = None,
    remembered: Recall | None = None,
    options: ComposeOptions | None = None,
) -> Generator[None, None, Composition]:
    """Compose the body for a request, in steps of a few milliseconds.

    Args:
        request: what the client asks.
        model: the name for the CLI's settings.
        model_id: its full id; empty: not known.
        effort: one that the model knows; None: its default.
        remembered: the proxy's own answers to this client.
        options: the operator's; None: the defaults.

    Returns:
        A generator that returns the composition.

    Raises:
        ClientError: the request cannot be asked; ``param`` is the client's path.
    """
    return _compose(
        _Source(
            request=request,
            model=model,
            model_id=model_id,
            effort=effort,
            remembered=remembered,
            options=options or ComposeOptions(),
        )
    )


def run(steps: Generator[None, None, Composition]) -> Composition:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Composition = end.value
            return found


def _compose(source: _Source) -> Generator[None, None, Composition]:
    request, options = source.request, source.options
    rules = rules_for(source.model_id)
    notes = Notes(request.paths)
    system, turns = yield from _read(request, notes)
    system_messages = rules.takes_system_messages and options.system_messages
    max_tokens = _max_tokens(request, rules, notes)
    tools = compose_tools(request.tools, rules, notes)
    if not tools:
        tools = called_tools(turns)
        if tools:
            notes.adjust(notes.name("tools"))
    choice = _choice(request, tools, notes)
    output = choose_output(request, rules, tools, notes)
    if output.tool is not None:
        if choice is not None and choice.type == "none":
            # Nothing but the answer may be called.
            tools = []
            notes.adjust(notes.name("tools"))
        tools = [*tools, output.tool]
    thinking = choose_thinking(request, rules, max_tokens, source.effort, notes)
    history = _history(source, rules, system, tools, system_messages, thinking, notes)
    yield from history.extend(turns)
    if thinking.form == "enabled" and not begins_with_thinking(history.turns):
        # Manual thinking would refuse a turn that does not begin with it.
        thinking = evolve(thinking, json=b'{"type":"disabled"}', form="disabled")
        notes.adjust(notes.name("thinking"))
        history = _history(
            source, rules, system, tools, system_messages, thinking, notes
        )
        yield from history.extend(turns)
    own = _end(history.turns, rules, notes)
    if not own:
        raise _nothing_to_answer(request)
    parts = _Parts(
        source=source,
        notes=notes,
        system=system,
        rules=rules,
        system_messages=system_messages,
        max_tokens=max_tokens,
        tools=tools,
        choice=choice,
        output=output,
        thinking=thinking,
        turns=own,
        prefix=history.prefix,
    )
    yield
    return parts.composition()


def _read(
    request: MessagesRequest, notes: Notes
) -> Generator[None, None, tuple[str, list[Turn]]]:
    """The system prompt, and the turns with what is in them mended."""
    if len(request.messages) > _MOST_MESSAGES:
        path = notes.name("messages")
        raise InvalidRequest(
            f"`{path}` has more than {_MOST_MESSAGES} messages", param=path
        )
    turns: list[Turn] = []
    blank_last = False
    for number, message in enumerate(request.messages):
        turn = read_turn(message, notes)
        blank_last = turn is None and message.role == "user"
        if turn is not None:
            turns.append(turn)
        if number % _SLICE == _SLICE - 1:
            yield
    if blank_last:
        last = request.messages[-1]
        path = f"{last.at}.content" if last.at else notes.name("messages")
        raise InvalidRequest(
            f"`{path}`: the last message is blank; say something in it", param=path
        )
    system = "" if is_blank(request.system) else request.system
    while turns and turns[0].role == "system":
        text = leading_system_text(turns[0])
        if text is None:
            break
        notes.adjust(turns[0].at)
        system = f"{system}\n\n{text}" if system else text
        del turns[0]
    if not turns and system:
        # It is the question.
        notes.adjust(notes.name("system"))
        return "", [Turn("user", system, "")]
    return system, turns


def _max_tokens(
    request: MessagesRequest, rules: ModelRules, notes: Notes
) -> int | None:
    asked = request.max_tokens
    path = notes.name("max_tokens")
    if asked is None:
        return None
    if asked < 1:
        raise InvalidRequest(f"`{path}` must be at least 1", param=path)
    if asked > rules.max_output_tokens:
        notes.adjust(path)
        return rules.max_output_tokens
    return asked


def _choice(
    request: MessagesRequest, tools: Sequence[Tool], notes: Notes
) -> ToolChoice | None:
    """The client's choice, where there is anything to choose from."""
    choice = request.tool_choice
    path = notes.name("tool_choice")
    check_choice(choice, [tool.value.name for tool in request.tools], path)
    if not tools:
        return None
    # Tools that only stand for the history's calls are not offered.
    return choice if request.tools else ToolChoice(type="none")


def _history(
    source: _Source,
    rules: ModelRules,
    system: str,
    tools: Sequence[Tool],
    system_messages: bool,
    thinking: ThinkingChoice,
    notes: Notes,
) -> History:
    return History(
        rules=HistoryRules(
            model=rules,
            model_id=source.model_id,
            system_messages=system_messages,
            drops_thinking=source.drops_thinking or thinking.is_off,
            models=source.request.thinking_models,
            prefixes=source.request.thinking_prefixes,
        ),
        prefix=Prefix(system, [tool.raw for tool in tools]),
        recall=source.remembered,
        notes=notes,
    )


def _end(turns: list[Turn], rules: ModelRules, notes: Notes) -> list[Turn]:
    """The turns, the last of which may be the last."""
    if not turns or turns[-1].role != "assistant" or ends_in_server_tool(turns[-1]):
        return turns
    last = turns[-1]
    if not rules.takes_prefill:
        path = f"{last.at}.role" if last.at else notes.name("messages")
        raise InvalidRequest(
            f"`{last.at or path}`: the conversation ends with the assistant; "
            "end it with a message of the user",
            param=path,
        )
    cut = cut_prefill(last, notes)
    return [*turns[:-1], cut] if cut else turns[:-1]


def _nothing_to_answer(request: MessagesRequest) -> InvalidRequest:
    path = request.paths.get("messages", "messages")
    return InvalidRequest(
        f"`{path}` has no message of the user; there is nothing to answer", param=path
    )


def _reply(said: Sequence[Block], words: str) -> list[Block]:
    """What is told to the model behind an answer: results of its calls, or a text."""
    return [
        tool_result_block(block.value.id, words, is_error=True)
        for block in said
        if isinstance(block.value, ToolUse)
    ] or [text_block(words)]


def first_text(request: MessagesRequest) -> str:
    """The first text of the user's that is not blank, or a fixed word."""
    for message in request.messages:
        if message.role != "user":
            continue
        for text in _texts(message.content):
            if not is_blank(text):
                return text
    return _NO_TEXT


def _texts(content: str | Sequence[Block]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        if isinstance(block.value, Text):
            yield block.value.text


@frozen(kw_only=True)
class _Parts:
    """A composition before it is written.

    Attributes:
        turns: the client's, as they go up.
        prefix: the hash of all of them.
    """

    source: _Source
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
    prefix: Prefix

    @property
    def _is_forced(self) -> bool:
        """Whether a forced choice goes up as it is."""
        if self.source.options.forward_tool_choice:
            return True
        return self.rules.takes_forced_tool_choice and self.thinking.is_off

    @property
    def _demanded(self) -> tuple[str, ...]:
        """The client's tools of which one has to be called."""
        choice = self.choice
        if choice is None or not choice.must_call:
            return ()
        if choice.type == "tool":
            return (choice.name or "",)
        return tuple(t.value.name for t in self.source.request.tools if t.value.name)

    def composition(self) -> Composition:
        """The question, written."""
        words = self._words()
        body = self._body(words)
        plan = Plan(
            demanded=() if self._is_forced else self._demanded,
            answer_tool=self.output.answer_tool,
            format_schema=self.output.schema if self.output.format else None,
        )
        stops = tuple(s for s in self.source.request.stop_sequences if is_blank(s))
        if stops and plan.is_empty:
            plan = Plan(stops=stops)
        elif stops:
            # An answer that has a form is not cut at white space.
            self.notes.ignore(self.notes.name("stop_sequences"))
        return Composition(
            body=body,
            adjusted=self.notes.adjusted,
            ignored=self.notes.ignored,
            plan=plan,
            prefix=self.prefix.digest,
            model_id=self.source.model_id,
            is_remembered=not words and plan.answer_tool is None,
            parts=self,
        )

    def _words(self) -> str:
        if self._is_forced:
            return ""
        if self._demanded:
            return f"{order(self._demanded)} {_PROSE}"
        tool = self.output.answer_tool
        if tool is None:
            return ""
        return f"Give your final answer by calling the tool `{tool.name}`. {_PROSE}"

    def again(self, said: Sequence[Block], words: str) -> ComposedBody | None:
        """See `Composition.again`."""
        first = self._words()
        kept = list(said)
        while kept and is_thinking(kept[-1]):
            kept.pop()
        if kept:
            reply = Turn("user", _reply(kept, words))
            return self._body(first, [Turn("assistant", kept), reply])
        if has_room_for_words(self.turns, system_messages=self.system_messages):
            return self._body(f"{first} {words}".strip())
        return None

    def _body(self, words: str, behind: Sequence[Turn] = ()) -> ComposedBody:
        """The body of the client's turns, words to the model, and turns of ours."""
        source = self.source
        marks = Breakpoints(
            self.notes,
            source.options.cache_ttl,
            self._top_level_marker(),
        )
        tools, turns = marks.mark(self.tools, self.turns)
        if words:
            turns = with_words(turns, words, system_messages=self.system_messages)
        turns += behind
        fields: dict[str, object] = {
            name: value
            for name, value in source.options.operator_body.items()
            if name not in NEVER_SENT
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
        if size > source.options.largest_bytes:
            raise RequestTooLarge(
                f"the request is {size} bytes long as the model's API takes it, and "
                f"{source.options.largest_bytes} is the most"
            )
        return ComposedBody(
            model=source.model,
            system=self.system,
            effort=self.thinking.effort,
            first_text=first_text(source.request),
            json=json,
            cache_ttl=marks.ttl,
            paths=BodyPaths(turns, tools, source.request.paths),
        )

    def _top_level_marker(self) -> Raw | None:
        marker = self.source.request.extra.get("cache_control")
        if marker is None or bytes(marker).strip() == b"null":
            return None
        return marker

    def _fields(self) -> dict[str, object]:
        """All top-level fields but the long ones."""
        request, options = self.source.request, self.source.options
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
            if self.thinking.form in ("disabled", "between_tools"):
                # The CLI's own asks to keep thinking, which nobody may when it is off.
                sent.setdefault("context_management", None)
        config = self._output_config()
        if config:
            sent["output_config"] = config
        choice = self._tool_choice()
        if choice is not None:
            sent["tool_choice"] = choice
        return sent

    def _thinking(self, raw: bytes) -> Raw:
        """The field, without what the CLI's processes have no beta for."""
        path = "thinking.block_binding"
        if b'"block_binding"' in raw:
            fields = msgspec.json.decode(raw, type=dict[str, Raw])
            if "block_binding" in fields and not has_beta(
                self.source.options.betas, path
            ):
                self.notes.ignore(self.notes.name(path))
                del fields["block_binding"]
                return Raw(_encode(fields))
        return Raw(raw)

    def _output_config(self) -> dict[str, object]:
        """The client's, without the effort, which the CLI's own setting takes."""
        given = self.source.request.output_config
        config: dict[str, object] = {}
        if given is not None:
            for name, value in given.fields.items():
                path = f"output_config.{name}"
                if name in ("effort", "format") or bytes(value).strip() == b"null":
                    continue
                if path in NESTED_BETAS and not has_beta(
                    self.source.options.betas, path
                ):
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
            return native_choice(choice, forced=forced)
        if len(self.tools) == 1:
            if forced:
                return {"type": "tool", "name": tool.name}
            return None
        wanted = ToolChoice(
            type="any",
            disable_parallel_tool_use=(
                None if choice is None else choice.disable_parallel_tool_use
            ),
        )
        sent = native_choice(wanted, forced=forced)
        return None if sent == {"type": "auto"} else sent
