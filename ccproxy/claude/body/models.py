"""The fields and values that each model accepts, by family and version. Pure.

An unknown id counts as a model that is newer than this table. Such a model thinks
adaptively, and fields that the newest models refuse are not sent to it.

Source: the rules of the Messages API in `docs/messages-api-rules.md`:
skills/claude-api and the pages "Thinking", "Effort", "Preserved thinking",
"Mid-conversation system messages", "Structured outputs", "Models overview", read in
November 2026. Nothing here was tested with the provider.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import evolve, frozen

ThinkingForm: TypeAlias = Literal["adaptive", "enabled", "disabled", "between_tools"]
Version: TypeAlias = tuple[int, int]


@frozen(kw_only=True)
class ModelRules:
    """The fields and values that a model accepts, and its defaults.

    Attributes:
        thinking: the values of ``thinking.type`` that the model takes; empty: none.
        thinks_by_default: whether the model thinks if ``thinking`` is absent.
        thinking_off_up_to: the highest effort at which thinking may be off; None: any.
        is_prefix_bound: whether the provider refuses the model's thinking if the
            conversation before it has changed.
        takes_forced_tool_choice: whether ``tool_choice`` may be ``any`` or ``tool``
            while thinking is off.
        takes_prefill: whether the last message may be the assistant's.
        takes_system_messages: whether turns may have the role ``system``.
        sampling: the accepted values of ``temperature``, ``top_p`` and ``top_k``:
            ``free``: any; ``default``: the default values; ``none``: none.
        takes_output_format: whether the model takes ``output_config.format``.
        max_output_tokens: the largest ``max_tokens``.
        has_new_web_search: whether the model takes the web search of 2026.
    """

    thinking: frozenset[ThinkingForm] = frozenset({"adaptive"})
    thinks_by_default: bool = True
    thinking_off_up_to: str | None = None
    is_prefix_bound: bool = True
    takes_forced_tool_choice: bool = False
    takes_prefill: bool = False
    takes_system_messages: bool = False
    sampling: Literal["free", "default", "none"] = "none"
    takes_output_format: bool = True
    max_output_tokens: int = 128_000
    has_new_web_search: bool = True


def _forms(*forms: ThinkingForm) -> frozenset[ThinkingForm]:
    return frozenset(forms)


UNKNOWN = ModelRules()

_FABLE_5_1 = evolve(UNKNOWN, takes_system_messages=True)
_FABLE_5 = evolve(_FABLE_5_1, is_prefix_bound=False)
_OPUS_5 = ModelRules(
    thinking=_forms("adaptive", "disabled"),
    thinking_off_up_to="high",
    is_prefix_bound=False,
    takes_forced_tool_choice=True,
    takes_system_messages=True,
)
_OPUS_4_8 = evolve(_OPUS_5, thinks_by_default=False, thinking_off_up_to=None)
_OPUS_4_7 = evolve(_OPUS_4_8, takes_system_messages=False)
_OPUS_4_6 = evolve(
    _OPUS_4_7, thinking=_forms("adaptive", "enabled", "disabled"), sampling="free"
)
_SONNET_5_5 = evolve(
    _FABLE_5_1,
    thinking=_forms("adaptive", "between_tools"),
    thinking_off_up_to="high",
    sampling="default",
)
_SONNET_5 = evolve(_OPUS_4_7, thinks_by_default=True, sampling="default")
_HAIKU_5_5 = evolve(_OPUS_5, is_prefix_bound=True, sampling="default")
_GEN_4_5 = ModelRules(
    thinking=_forms("enabled", "disabled"),
    thinks_by_default=False,
    is_prefix_bound=False,
    takes_forced_tool_choice=True,
    takes_prefill=True,
    sampling="free",
    max_output_tokens=64_000,
    has_new_web_search=False,
)
_OPUS_4_1 = evolve(_GEN_4_5, max_output_tokens=32_000)
_GEN_4 = evolve(_GEN_4_5, takes_output_format=False)
_OPUS_4 = evolve(_GEN_4, max_output_tokens=32_000)
_GEN_3_5 = evolve(_GEN_4, thinking=_forms(), max_output_tokens=8_192)
_GEN_3 = evolve(_GEN_3_5, max_output_tokens=4_096)

# The rules by family. The first row with a version up to the model's version applies.
_ROWS: dict[str, Sequence[tuple[Version, ModelRules]]] = {
    "fable": [((5, 1), _FABLE_5_1), ((5, 0), _FABLE_5)],
    "mythos": [((5, 1), _FABLE_5_1), ((5, 0), _FABLE_5)],
    "opus": [
        ((5, 5), _FABLE_5_1),
        ((5, 0), _OPUS_5),
        ((4, 8), _OPUS_4_8),
        ((4, 7), _OPUS_4_7),
        ((4, 6), _OPUS_4_6),
        ((4, 5), _GEN_4_5),
        ((4, 1), _OPUS_4_1),
        ((4, 0), _OPUS_4),
        ((0, 0), _GEN_3),
    ],
    "sonnet": [
        ((5, 5), _SONNET_5_5),
        ((5, 0), _SONNET_5),
        ((4, 6), evolve(_OPUS_4_6, max_output_tokens=64_000)),
        ((4, 5), _GEN_4_5),
        ((3, 7), _GEN_4),
        ((3, 5), _GEN_3_5),
        ((0, 0), _GEN_3),
    ],
    "haiku": [
        ((5, 5), _HAIKU_5_5),
        ((5, 0), UNKNOWN),
        ((4, 5), _GEN_4_5),
        ((3, 5), _GEN_3_5),
        ((0, 0), _GEN_3),
    ],
}

# The only model whose id has no version.
_PREVIEW = "claude-mythos-preview"
# claude-opus-4-5-20251101, claude-sonnet-5, us.anthropic.claude-opus-4-6-v1:0
_NEW_STYLE = re.compile(
    r"claude-(?P<family>[a-z]+)-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2})(?!\d))?"
)
# claude-3-7-sonnet-latest, claude-3-opus-20240229
_OLD_STYLE = re.compile(
    r"claude-(?P<major>\d)(?:[-.](?P<minor>\d))?-(?P<family>[a-z]+)"
)


def rules_for(model_id: str) -> ModelRules:
    """The rules of a model.

    Args:
        model_id: the full id, in the provider's form or a cloud's; any other text is an
            unknown model.
    """
    if _PREVIEW in model_id:
        return _OPUS_4_7
    found = _OLD_STYLE.search(model_id) or _NEW_STYLE.search(model_id)
    if found is None:
        return UNKNOWN
    version = (int(found["major"]), int(found["minor"] or 0))
    for since, rules in _ROWS.get(found["family"], ()):
        if version >= since:
            return rules
    return UNKNOWN


# Suffixes that do not distinguish models.
_DATED = re.compile(r"([-@]\d{8}|-latest)?(-v\d+(:\d+)?)?(\[1m\])?$")


def is_same_model(one: str, other: str) -> bool:
    """Whether two ids name one model; dates and clouds are ignored."""
    return _bare(one) == _bare(other)


def _bare(model_id: str) -> str:
    start = model_id.find("claude-")
    return _DATED.sub("", model_id[start:] if start > 0 else model_id)


_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def lower_effort(effort: str | None, limit: str | None) -> str | None:
    """The lower of an effort and a limit."""
    if effort not in _EFFORTS or limit not in _EFFORTS:
        return effort
    return min(effort, limit, key=_EFFORTS.index)
