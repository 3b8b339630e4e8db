"""Suffixes of model names, as routers and clients append them. Pure.

======================  ==============================================================
suffix                  meaning
======================  ==============================================================
``-thinking``           the model thinks (also ``:thinking``, ``-reasoning``)
``[1m]``                the model with a context window of a million tokens
``:online``             the model may search the web
``:free``, ``:nitro``   a router's choice of provider or price; no meaning here (also
                        ``:floor``, ``:exacto``, ``:extended``, ``:beta``)
======================  ==============================================================

Source: the model lists of OpenRouter, "Model variants"; Claude Code, "Model
configuration".
"""

import re

from attrs import frozen

# The CLI's suffix of a model with a context window of a million tokens.
LONG_CONTEXT = "[1m]"
_THINKING = ("-thinking", ":thinking", "-reasoning", ":reasoning")
_ONLINE = ":online"
_WITHOUT_MEANING = (":free", ":nitro", ":floor", ":exacto", ":extended", ":beta")
_ALL = (LONG_CONTEXT, *_THINKING, _ONLINE, *_WITHOUT_MEANING)
_SUFFIXES = re.compile(f"(.*?)((?:{'|'.join(map(re.escape, _ALL))})+)", re.DOTALL)
_SUFFIX = re.compile("|".join(map(re.escape, _ALL)))


@frozen(kw_only=True)
class ModelName:
    """A model's name in lower case, split into its base and its suffixes.

    Attributes:
        base: the name without suffixes.
        thinks: whether a suffix asks for thinking.
        has_long_context: whether a suffix asks for the longer context window.
        is_online: whether a suffix asks for web search.
        has_other: whether the name has a suffix without a meaning here.
    """

    base: str
    thinks: bool = False
    has_long_context: bool = False
    is_online: bool = False
    has_other: bool = False


def split_name(name: str) -> ModelName:
    """Split a name in lower case into its base and its suffixes."""
    match = _SUFFIXES.fullmatch(name)
    if match is None:
        return ModelName(base=name)
    suffixes = set(_SUFFIX.findall(match[2]))
    return ModelName(
        base=match[1],
        thinks=not suffixes.isdisjoint(_THINKING),
        has_long_context=LONG_CONTEXT in suffixes,
        is_online=_ONLINE in suffixes,
        has_other=not suffixes.isdisjoint(_WITHOUT_MEANING),
    )
