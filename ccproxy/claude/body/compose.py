"""Composes the body that the CLI merges into its request to the provider. Pure.

The client's fields are sent unchanged. The proxy corrects only what the provider would
refuse, and reports each correction by the client's path. A body depends on the request
and on the remembered answers only, not on the process that sends it. If the client
appends a turn, the turns before it keep their bytes, except for breakpoints.

Source: docs/messages-api-rules.md;
docs/claude-cli-protocol.md, "Body mode".
"""

import re
from collections.abc import Collection, Generator, Sequence
from typing import TypeVar

from attrs import evolve, field, frozen

from ccproxy.claude.body.cache import Digests, cached_prefixes
from ccproxy.claude.body.draft import Draft
from ccproxy.claude.body.history import (
    History,
    HistoryRules,
    Recall,
    allows_enabled_thinking,
)
from ccproxy.claude.body.models import ModelRules, rules_for
from ccproxy.claude.body.options import ComposeOptions
from ccproxy.claude.body.output import choose_output
from ccproxy.claude.body.reading import checked_end, read_request
from ccproxy.claude.body.result import ComposedBody, Notes, ShapingPlan
from ccproxy.claude.body.server_tools import server_tools
from ccproxy.claude.body.subset import GrammarLimits
from ccproxy.claude.body.thinking import ThinkingChoice, choose_thinking
from ccproxy.claude.body.tools import (
    check_choice,
    compose_tools,
    tools_for_calls,
    without_strict,
)
from ccproxy.claude.body.turns import Prefix
from ccproxy.claude.shaping.answer_tool import AnswerToolShaper
from ccproxy.claude.shaping.demand import DemandShaper
from ccproxy.claude.shaping.formatted import FormatShaper
from ccproxy.claude.shaping.shaper import AnswerShaper, ComposeAgain
from ccproxy.claude.shaping.stops import StopShaper
from ccproxy.core.blocks import Block
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import MessagesRequest, Tool, ToolChoice

_T = TypeVar("_T")

# The provider's messages for thinking that was signed for another conversation, or by
# another provider: rules 24 and 25.
_REFUSED_THINKING = re.compile(
    "bound to a different conversation"
    "|Invalid `?(signature|data)`? in `?(redacted_)?thinking`? block"
)
# The provider's messages for schemas that are too complex together: rule 32.
_TOO_COMPLEX = re.compile("compiled grammar is too large|[Ss]chema is too complex")


@frozen(kw_only=True)
class Composition:
    """A composed request.

    Attributes:
        adjusted: the client's paths of fields that are sent in another form.
        ignored: the client's paths of fields that are not sent.
        plan: the changes that the proxy has to make to the answer.
        prefix: the hash of everything before the answer. Remembered answers are stored
            with it, and encrypted thinking contains it.
        model_id: the full id of the model; empty: not known.
        is_remembered: whether the answer may be remembered: no text and no tool of the
            proxy precedes it.
    """

    body: ComposedBody
    adjusted: tuple[str, ...]
    ignored: tuple[str, ...]
    plan: ShapingPlan
    prefix: str
    model_id: str
    is_remembered: bool
    _source: "_Source" = field(repr=False, eq=False)
    _draft: Draft = field(repr=False, eq=False)

    def without_refused(self, message: str) -> "Composition | None":
        """Compose the request again, without the part that the provider has refused.

        ==============================  =============================================
        the provider refuses            the request is composed without
        ==============================  =============================================
        thinking in the turns           the thinking
        the schemas as too complex      ``strict`` of all tools. If no tool is strict,
                                        or if the message names the format:
                                        ``output_config.format``; the answer is
                                        then a call of the proxy's tool.
        ==============================  =============================================

        Args:
            message: the provider's message.

        Returns:
            None: the message is about something else, or nothing can be left out.
        """
        draft, source = self._draft, self._source
        if _REFUSED_THINKING.search(message):
            if not draft.has_thinking:
                return None
            return run(_compose(evolve(source, drops_thinking=True)))
        if not _TOO_COMPLEX.search(message):
            return None
        is_strict = any(tool.value.strict for tool in draft.tools)
        if is_strict and not message.startswith("output_config"):
            return run(_compose(evolve(source, drops_strict=True)))
        if draft.output.format is not None and draft.output.schema is not None:
            return run(_compose(evolve(source, drops_format=True)))
        return None

    def shaper(self) -> AnswerShaper | None:
        """Make the shaper of the answer; each attempt needs a new one."""
        tools = self._draft.tools
        own_tool = self.plan.answer_tool
        names = {tool.value.name for tool in tools if tool.value.name}
        return make_shaper(
            self.plan,
            self.again,
            names - ({own_tool.name} if own_tool is not None else set()),
        )

    def again(self, first_answer: Sequence[Block], words: str) -> ComposedBody | None:
        """The body of a second request, after an unacceptable first answer.

        Args:
            first_answer: the first answer, as the model made it.
            words: the text to the model.

        Returns:
            None if there is no place for the text: the first answer is empty, and the
            conversation ends with results.
        """
        return self._draft.again(first_answer, words)


def make_shaper(
    plan: ShapingPlan, again: ComposeAgain, client_tools: Collection[str] = ()
) -> AnswerShaper | None:
    """The shaper for one answer; None: the answer is not changed.

    Args:
        plan: the plan for the answer.
        again: composes the second request.
        client_tools: the names of the client's tools.
    """
    if plan.answer_tool is not None:
        return AnswerToolShaper(
            plan.answer_tool, again, client_tools, plan.signed_parts
        )
    if plan.format_schema is not None:
        return FormatShaper(plan.format_schema, again, plan.signed_parts)
    if plan.demanded:
        return DemandShaper(plan.demanded, again, plan.signed_parts)
    if plan.stops:
        return StopShaper(plan.stops)
    return None


@frozen(kw_only=True)
class _Source:
    """Everything that a composition depends on."""

    request: MessagesRequest
    model: str
    model_id: str
    effort: str | None
    remembered: Recall | None
    options: ComposeOptions
    drops_thinking: bool = False
    drops_strict: bool = False
    drops_format: bool = False


def composing(
    request: MessagesRequest,
    *,
    model: str,
    model_id: str = "",
    effort: str | None = None,
    remembered: Recall | None = None,
    options: ComposeOptions | None = None,
) -> Generator[None, None, Composition]:
    """Compose the body of a request, in steps of a few milliseconds.

    Args:
        request: the client's request.
        model: the model's name for the CLI's settings.
        model_id: the model's full id; empty: not known.
        effort: an effort that the model takes; None: the model's default.
        remembered: the remembered answers to this client.
        options: the operator's options; None: the defaults.

    Returns:
        A generator that returns the composition.

    Raises:
        ClientError: the request cannot be sent; ``param`` is the client's path.
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


def run(steps: Generator[None, None, _T]) -> _T:
    """Run all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: _T = end.value
            return outcome


def _compose(source: _Source) -> Generator[None, None, Composition]:
    request, options = source.request, source.options
    rules = rules_for(source.model_id)
    if not options.new_web_search:
        rules = evolve(rules, has_new_web_search=False)
    notes = Notes(request.paths)
    system, turns = yield from read_request(request, notes, options.betas)
    system_messages = rules.takes_system_messages and options.system_messages
    max_tokens = _max_tokens(request, rules, notes)
    limits = GrammarLimits()
    offered = request.tools
    if source.drops_strict:
        offered = without_strict(offered, notes)
    tools = compose_tools(offered, rules, limits, notes)
    tools += server_tools(request, rules, options.server_tools, notes)
    is_offered = bool(tools)
    if not is_offered:
        tools = tools_for_calls(turns)
        if tools:
            notes.adjust(notes.name("tools"))
    choice = _choice(request, tools, notes, is_offered=is_offered)
    takes_format = rules.takes_output_format and not source.drops_format
    output = choose_output(
        request, evolve(rules, takes_output_format=takes_format), tools, limits, notes
    )
    if output.tool is not None:
        if choice is not None and choice.type == "none":
            # Only the proxy's tool for the answer may be called.
            tools = []
            notes.adjust(notes.name("tools"))
        tools = [*tools, output.tool]
    thinking = choose_thinking(request, rules, max_tokens, source.effort, notes)
    history = _history(source, rules, system, tools, system_messages, thinking, notes)
    yield from history.extend(turns)
    if thinking.form == "enabled" and not allows_enabled_thinking(history.turns):
        # Otherwise the provider would refuse the request.
        thinking = evolve(thinking, json=b'{"type":"disabled"}', form="disabled")
        if request.thinking is not None:
            notes.adjust(notes.name("thinking"))
        history = _history(
            source, rules, system, tools, system_messages, thinking, notes
        )
        yield from history.extend(turns)
    checked = checked_end(history.turns, rules, notes)
    if not checked:
        raise _nothing_to_answer(notes)
    draft = Draft(
        request=request,
        model=source.model,
        options=options,
        notes=notes,
        system=system,
        rules=rules,
        system_messages=system_messages,
        max_tokens=max_tokens,
        tools=tools,
        choice=choice,
        output=output,
        thinking=thinking,
        turns=checked,
    )
    yield
    body, plan = draft.body(), draft.plan()
    start = Prefix(system, [tool.raw for tool in tools]).digest
    prefixes = cached_prefixes(
        Digests(start=start, asked=history.asked, whole=history.prefix.digest),
        model=source.model,
        system=system,
        tools=tools,
        turns=checked,
        settings=body.json[: body.json.find(b'"messages":[')],
    )
    return Composition(
        body=evolve(body, prefixes=prefixes),
        adjusted=notes.adjusted,
        ignored=notes.ignored,
        plan=plan,
        prefix=history.prefix.digest,
        model_id=source.model_id,
        is_remembered=not draft.is_shaped_by_proxy,
        source=source,
        draft=draft,
    )


def _nothing_to_answer(notes: Notes) -> InvalidRequest:
    path = notes.name("messages")
    return InvalidRequest(
        f"`{path}` has no message of the user; there is nothing to answer", param=path
    )


def _max_tokens(
    request: MessagesRequest, rules: ModelRules, notes: Notes
) -> int | None:
    limit = request.max_tokens
    path = notes.name("max_tokens")
    if limit is None:
        return None
    if limit < 1:
        raise InvalidRequest(f"`{path}` must be at least 1", param=path)
    if limit > rules.max_output_tokens:
        notes.adjust(path)
        return rules.max_output_tokens
    return limit


def _choice(
    request: MessagesRequest, tools: Sequence[Tool], notes: Notes, *, is_offered: bool
) -> ToolChoice | None:
    """The client's choice; None: there is none, or there are no tools.

    Args:
        request: the client's request.
        tools: the tools that are sent.
        notes: gets the path of a choice that is changed or left out.
        is_offered: whether the client's request leads to tools; otherwise ``tools`` has
            only the tool that stands for calls in the history.
    """
    choice = request.tool_choice
    path = notes.name("tool_choice")
    check_choice(choice, [tool.value.name for tool in request.tools], path)
    if not tools:
        if choice is not None:
            # The provider refuses the field without tools.
            notes.ignore(path)
        return None
    if is_offered:
        return choice
    # Tools that were added for calls in the history must not be called.
    if choice is not None and choice.type != "none":
        notes.adjust(path)
    return ToolChoice(type="none")


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
