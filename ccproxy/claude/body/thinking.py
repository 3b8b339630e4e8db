"""Chooses the ``thinking`` that is sent. Pure.

=================  ===================================================================
the client sends   the proxy sends the first form that the model takes
=================  ===================================================================
nothing            in OpenAI's APIs: nothing, which means the CLI's default;
                   in the Messages API: that API's default
``adaptive``       the same; otherwise ``enabled``
``enabled``        the same, with a budget below ``max_tokens``; otherwise ``adaptive``
``disabled``       the same; otherwise ``between_tools``; otherwise ``adaptive``
``between_tools``  the same; otherwise as for ``disabled``
=================  ===================================================================

Changes are reported. If the client receives thinking, a ``thinking`` that the proxy
sets has ``display: summarized``. Without ``display``, newer models show no thinking.

For models that take only ``enabled``, the CLI's budget is 31,999 tokens, whatever
``max_tokens`` is. If ``max_tokens`` is not larger than that, the proxy sets a budget.

Source: rules 17 to 19 and 22 of the Messages API; docs/claude-cli-protocol.md,
"Body mode".
"""

from typing import Any, TypeAlias

import msgspec
from attrs import frozen

from ccproxy.claude.body.models import ModelRules, ThinkingForm, lower_effort
from ccproxy.claude.body.result import Notes
from ccproxy.core.messages import MessagesRequest, ThinkingConfig

_encode = msgspec.json.Encoder().encode
_Fields: TypeAlias = dict[str, Any]

_CLI_BUDGET_TOKENS = 31_999
_SMALLEST_BUDGET_TOKENS = 1_024


@frozen(kw_only=True)
class ThinkingChoice:
    """The chosen thinking.

    Attributes:
        json: the value of ``thinking``; None: the field is not sent.
        form: the resulting kind of thinking; None: the model does not think.
        effort: the CLI's ``effortLevel``; None: the model's default.
    """

    json: bytes | None
    form: ThinkingForm | None
    effort: str | None

    @property
    def is_off(self) -> bool:
        """Whether the history must not contain thinking."""
        return self.form in (None, "disabled")


def choose_thinking(
    request: MessagesRequest,
    rules: ModelRules,
    max_tokens: int | None,
    effort: str | None,
    notes: Notes,
) -> ThinkingChoice:
    """Choose the ``thinking`` of a request.

    Args:
        request: the client's request.
        rules: the model's rules.
        max_tokens: the value that is sent; None: the CLI's default.
        effort: an effort that the model takes; None: the model's default.
        notes: gets the paths of fields that are changed or left out.
    """
    wanted = request.thinking
    if not rules.thinking:
        if wanted is not None and wanted.value.type != "disabled":
            notes.ignore(notes.name("thinking"))
        return ThinkingChoice(json=None, form=None, effort=effort)
    if wanted is None:
        return _default_thinking(request, rules, max_tokens, effort)
    known = ("adaptive", "enabled", "disabled", "between_tools")
    if wanted.value.type not in known:
        # A newer form, which the provider may know.
        return ThinkingChoice(json=wanted.raw, form="adaptive", effort=effort)
    form = _nearest(wanted.value.type, rules)
    if form != wanted.value.type:
        notes.adjust(notes.name("thinking"))
    if form in ("disabled", "between_tools"):
        lowered = lower_effort(effort, rules.thinking_off_up_to)
        if lowered != effort:
            notes.adjust(notes.name("output_config.effort"))
        raw = wanted.raw if form == wanted.value.type else _encode({"type": form})
        return ThinkingChoice(json=raw, form=form, effort=lowered)
    if form == "enabled":
        return _manual(request, wanted, max_tokens, effort, notes)
    raw = _shown(request, wanted, form)
    return ThinkingChoice(json=raw, form=form, effort=effort)


def _nearest(wanted: str, rules: ModelRules) -> ThinkingForm:
    orders: dict[str, tuple[ThinkingForm, ...]] = {
        "adaptive": ("adaptive", "enabled"),
        "enabled": ("enabled", "adaptive"),
        "disabled": ("disabled", "between_tools", "adaptive"),
        "between_tools": ("between_tools", "disabled", "adaptive"),
    }
    return next(form for form in orders[wanted] if form in rules.thinking)


def _default_thinking(
    request: MessagesRequest,
    rules: ModelRules,
    max_tokens: int | None,
    effort: str | None,
) -> ThinkingChoice:
    if request.default_thinking == "api":
        if not rules.thinks_by_default:
            raw = _encode({"type": "disabled"})
            return ThinkingChoice(json=raw, form="disabled", effort=effort)
        display = {"display": "summarized"} if request.shows_thinking else {}
        raw = _encode({"type": "adaptive", **display})
        return ThinkingChoice(json=raw, form="adaptive", effort=effort)
    if "adaptive" in rules.thinking:
        return ThinkingChoice(json=None, form="adaptive", effort=effort)
    if max_tokens is None or max_tokens > _CLI_BUDGET_TOKENS:
        return ThinkingChoice(json=None, form="enabled", effort=effort)
    # The client did not ask for thinking: half of the tokens stay for the answer.
    budget_tokens = max_tokens // 2
    if budget_tokens < _SMALLEST_BUDGET_TOKENS:
        raw = _encode({"type": "disabled"})
        return ThinkingChoice(json=raw, form="disabled", effort=effort)
    fields: _Fields = {"type": "enabled", "budget_tokens": budget_tokens}
    if request.shows_thinking:
        fields["display"] = "summarized"
    return ThinkingChoice(json=_encode(fields), form="enabled", effort=effort)


def _manual(
    request: MessagesRequest,
    wanted: ThinkingConfig,
    max_tokens: int | None,
    effort: str | None,
    notes: Notes,
) -> ThinkingChoice:
    asked = wanted.value.budget_tokens
    limit = _CLI_BUDGET_TOKENS if max_tokens is None else max_tokens - 1
    if limit < _SMALLEST_BUDGET_TOKENS:
        notes.adjust(notes.name("thinking"))
        raw = _encode({"type": "disabled"})
        return ThinkingChoice(json=raw, form="disabled", effort=effort)
    if asked is None:
        budget_tokens = min(limit, _CLI_BUDGET_TOKENS)
    else:
        budget_tokens = min(limit, max(asked, _SMALLEST_BUDGET_TOKENS))
    raw = _shown(request, wanted, "enabled", budget_tokens=budget_tokens)
    if asked not in (None, budget_tokens):
        notes.adjust(f"{notes.name('thinking')}.budget_tokens")
    return ThinkingChoice(json=raw, form="enabled", effort=effort)


def _shown(
    request: MessagesRequest,
    wanted: ThinkingConfig,
    form: ThinkingForm,
    budget_tokens: int | None = None,
) -> bytes:
    """The client's ``thinking`` with the type ``form``; may add a ``display``."""
    is_clients = wanted.value.type == form
    fields: _Fields = dict(wanted.fields)
    fields["type"] = form
    fields.pop("budget_tokens", None)
    if budget_tokens is not None:
        fields["budget_tokens"] = budget_tokens
    # A ``thinking`` that a client of the Messages API wrote is not changed.
    is_ours = request.default_thinking == "cli" or not is_clients
    if is_ours and wanted.value.display is None and request.shows_thinking:
        fields["display"] = "summarized"
    return wanted.raw if fields == wanted.fields else _encode(fields)
