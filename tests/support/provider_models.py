"""The rules of the provider's models: one row a family.

Source: rules 4, 5, 17, 25, 29, 35 to 37 and 40 of the rules of the Messages API; the
model ids are those of anthropic-python 2.14. A model that is not here may do
everything.
"""

import re
from collections.abc import Mapping

from attrs import evolve, frozen

_DATE = re.compile(r"(-\d{8}|-latest)?(\[1m\])?$")
_ALL_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_FEW_EFFORTS = frozenset({"low", "medium", "high"})
_MOST_EFFORTS = _ALL_EFFORTS - {"xhigh"}


@frozen(kw_only=True)
class ModelRules:
    """The rules of a model.

    Attributes:
        thinking: the values of ``thinking.type``.
        thinks_by_default: what happens when ``thinking`` is left out.
        calm_up_to_high: whether ``disabled`` and ``between_tools`` need an effort of
            at most ``high``.
        prefill: whether the last message may be the assistant's.
        system_role: whether ``messages`` may have the role ``system``.
        sampling: whether it takes sampling parameters: ``any``, the ``default``
            values only, or ``none``.
        forced_tools: whether a ``tool_choice`` may require a call.
        efforts: the levels of ``output_config.effort``.
        prefix_check: whether thinking is bound to the conversation before it.
        max_tokens: the largest ``max_tokens``.
        window: the tokens of its context window.
        new_web_search: whether it has ``web_search_20260209`` and later.
    """

    thinking: frozenset[str]
    thinks_by_default: bool = True
    calm_up_to_high: bool = False
    prefill: bool = False
    system_role: bool = True
    sampling: str = "none"
    forced_tools: bool = True
    efforts: frozenset[str] = _ALL_EFFORTS
    prefix_check: bool = False
    max_tokens: int = 128_000
    window: int = 1_000_000
    new_web_search: bool = True


_FABLE_5 = ModelRules(thinking=frozenset({"adaptive"}))
_FABLE_5_1 = evolve(_FABLE_5, forced_tools=False, prefix_check=True)
_OPUS_5_5 = _FABLE_5_1
_SONNET_5_5 = evolve(
    _OPUS_5_5,
    thinking=frozenset({"adaptive", "between_tools"}),
    calm_up_to_high=True,
    sampling="default",
)
_HAIKU_5_5 = evolve(
    _SONNET_5_5, thinking=frozenset({"adaptive", "disabled"}), forced_tools=True
)
_OPUS_5 = ModelRules(thinking=frozenset({"adaptive", "disabled"}), calm_up_to_high=True)
_OPUS_4_8 = ModelRules(
    thinking=frozenset({"adaptive", "disabled"}), thinks_by_default=False
)
_OPUS_4_7 = evolve(_OPUS_4_8, system_role=False)
_SONNET_5 = evolve(_OPUS_4_7, thinks_by_default=True, sampling="default")
_OPUS_4_6 = evolve(
    _OPUS_4_7,
    thinking=frozenset({"adaptive", "enabled", "disabled"}),
    sampling="any",
    efforts=_MOST_EFFORTS,
)
_OPUS_4_5 = ModelRules(
    thinking=frozenset({"enabled", "disabled"}),
    thinks_by_default=False,
    prefill=True,
    system_role=False,
    sampling="any",
    efforts=_FEW_EFFORTS,
    max_tokens=64_000,
    window=200_000,
    new_web_search=False,
)
_SONNET_4_5 = evolve(_OPUS_4_5, efforts=frozenset())

MODELS: Mapping[str, ModelRules] = {
    "claude-fable-5-2": _FABLE_5_1,
    "claude-mythos-5-2": _FABLE_5_1,
    "claude-fable-5-1": _FABLE_5_1,
    "claude-mythos-5-1": _FABLE_5_1,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-mythos-preview": _OPUS_4_7,
    "claude-opus-5-5": _OPUS_5_5,
    "claude-sonnet-5-5": _SONNET_5_5,
    "claude-haiku-5-5": _HAIKU_5_5,
    "claude-opus-5": _OPUS_5,
    "claude-sonnet-5": _SONNET_5,
    "claude-opus-4-8": _OPUS_4_8,
    "claude-opus-4-7": _OPUS_4_7,
    "claude-opus-4-6": _OPUS_4_6,
    "claude-sonnet-4-6": evolve(_OPUS_4_6, max_tokens=64_000),
    "claude-opus-4-5": _OPUS_4_5,
    "claude-sonnet-4-5": _SONNET_4_5,
    "claude-haiku-4-5": _SONNET_4_5,
}
UNKNOWN = ModelRules(
    thinking=frozenset({"adaptive", "enabled", "disabled", "between_tools"}),
    thinks_by_default=False,
    prefill=True,
    sampling="any",
    max_tokens=10**9,
)


def model_rules(model: str) -> ModelRules:
    """The rules of a model, by its id with or without a date."""
    return MODELS.get(_DATE.sub("", model), UNKNOWN)
