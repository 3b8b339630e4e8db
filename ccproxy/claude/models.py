"""Which models there are, and which one a name means. Pure.

A name is looked up in this order: nothing or ``default``; the operator's exact
mappings; the CLI's own aliases and full ids; the family that the name contains
(``anthropic/claude-sonnet-4.5`` is ``sonnet``); the operator's patterns. What is
found nowhere is an error that lists what there is.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ccproxy.claude.protocol.records import ModelInfo
from ccproxy.core.errors import ModelNotFound
from ccproxy.core.models import ModelEntry

# How hard a model can be told to work, in the CLI's words, the least first.
EFFORTS = ("low", "medium", "high", "xhigh", "max")
# The CLI has these in every version.
FAMILIES = ("haiku", "sonnet", "opus")
_DEFAULT = "default"
# The CLI's suffix of a model with a context window of a million tokens.
_LONG_CONTEXT = "[1m]"

# Far longer than any model's name; whatever is longer is none.
_LONGEST_NAME = 200
# What a cloud puts before the name: `anthropic.`, `us-gov.anthropic.`.
_CLOUD = re.compile(r"(?:[a-z-]+\.)?anthropic\.")
# An id as the provider writes it: claude-opus-4-5, claude-opus-4-1-20250805,
# claude-3-5-haiku-latest.
_FULL_ID = re.compile(
    r"claude-(?:[a-z]+-\d+(?:-\d+)?(?:-\d{8})?|\d+(?:-\d+)?-[a-z]+-(?:\d{8}|latest))"
)
_SEPARATORS = re.compile(r"[-_.:@ ]+")
# What may stand beside the family: numbers, dates, and words that say no more.
_FILLER = re.compile(r"claude|anthropic|latest|v?\d+")


class Catalogue:
    """What the operator configured and what the CLI has told so far."""

    def __init__(
        self,
        default: str,
        model_map: Sequence[tuple[str, str]],
        since_seconds: int,
    ) -> None:
        self._default = default
        self._exact = {p.lower(): m for p, m in model_map if "*" not in p}
        self._patterns = [(p.lower(), m) for p, m in model_map if "*" in p]
        self._since_seconds = since_seconds
        self._models: Sequence[ModelInfo] = ()

    def learn(self, models: Sequence[ModelInfo]) -> None:
        """Take the CLI's catalogue; an empty one changes nothing."""
        if models:
            self._models = models

    def is_plain(self, name: str | None) -> bool:
        """Whether a name means the same whatever the CLI's catalogue says."""
        name = _normal(name)
        return not name or name in self._exact or name in FAMILIES

    def resolve(self, name: str | None) -> str:
        """The model to ask the CLI for.

        Raises:
            ModelNotFound: there is no such model, and no mapping for it.
        """
        wanted = _normal(name)
        if len(wanted) > _LONGEST_NAME:
            raise ModelNotFound("there is no model with such a name", param="model")
        if not wanted:
            return self._operators(_DEFAULT)
        if wanted in self._exact:
            return self._operators(self._exact[wanted])
        known = self._known(wanted)
        if known is not None:
            return known
        for pattern, target in self._patterns:
            if fnmatchcase(wanted, pattern):
                return self._operators(target)
        if wanted == self._default.lower():
            return self._default
        raise ModelNotFound(
            f"there is no model {name!r} here; there are: "
            f"{', '.join(entry.name for entry in self.entries())}. "
            "Ask for one of them, or let the proxy map the name with --model-map",
            param="model",
        )

    def full_id(self, name: str) -> str:
        """The id of the model that an alias means.

        The id is the name itself if the name is a full id, and as long as the CLI has
        told nothing. Older CLIs list an alias with its longer context window only: that
        is the same model.
        """
        info = self._info(name)
        if info is not None:
            return info.resolved_model or name
        longer = self._info(f"{name}{_LONG_CONTEXT}")
        if longer is None or not longer.resolved_model:
            return name
        return longer.resolved_model.removesuffix(_LONG_CONTEXT)

    def effort(self, name: str, wanted: str) -> str | None:
        """The effort nearest to the wanted one that a model knows.

        Of two that are as near it is the lower one; a word that is no effort of
        `EFFORTS` stays as it is. None: the model knows none.
        """
        info = self._info(name)
        if info is None:
            return wanted
        if info.supports_effort is False:
            return None
        known = [e for e in EFFORTS if e in info.supported_effort_levels]
        if not known or wanted not in EFFORTS:
            # An older CLI does not tell.
            return wanted
        rank = EFFORTS.index(wanted)
        return min(known, key=lambda effort: abs(EFFORTS.index(effort) - rank))

    def _info(self, name: str) -> ModelInfo | None:
        wanted = name.lower()
        for info in self._models:
            if wanted in (info.value.lower(), (info.resolved_model or "").lower()):
                return info
        return None

    def entries(self) -> Sequence[ModelEntry]:
        """What a client may ask for, each once."""
        names = [*self._aliases(), *self._full_ids(), self._default, *self._exact]
        return [
            ModelEntry(name=name, since_seconds=self._since_seconds)
            for name in dict.fromkeys(names)
            if name != _DEFAULT
        ]

    def unlisted(self) -> Sequence[str]:
        """The operator's models that the CLI does not list.

        Empty as long as the CLI has listed no models. A full id counts as listed: the
        CLI lists its newest models only, and passes the ids of others on.
        """
        if not self._models:
            return ()
        targets = (*self._exact.values(), *(model for _, model in self._patterns))
        return [
            name
            for name in dict.fromkeys((self._default, *targets))
            if name.lower() != _DEFAULT and not self._is_listed(name)
        ]

    def listed(self) -> Sequence[str]:
        """The models that the CLI has: aliases, then full ids."""
        return tuple(dict.fromkeys((*self._aliases(), *self._full_ids())))

    def _is_listed(self, name: str) -> bool:
        wanted = self._operators(name).lower().removesuffix(_LONG_CONTEXT)
        return bool(_FULL_ID.fullmatch(wanted)) or any(
            wanted == listed.lower().removesuffix(_LONG_CONTEXT)
            for listed in self.listed()
        )

    def _operators(self, name: str) -> str:
        """The operator's own word: a full id is that model, and no other."""
        if name.lower() == _DEFAULT:
            name = self._default
        if _FULL_ID.fullmatch(name):
            return name
        return self._known(name.lower()) or name

    def _known(self, name: str) -> str | None:
        for candidate in (*self._full_ids(), *self._aliases()):
            if name == candidate.lower():
                return candidate
        # What a router puts before it ends with a slash.
        own = name.rpartition("/")[2]
        cloud = _CLOUD.match(own)
        words = _SEPARATORS.split(own[cloud.end() :] if cloud else own)
        families = [word for word in words if word in self._aliases()]
        others = [word for word in words if word not in self._aliases()]
        if len(families) == 1 and all(_FILLER.fullmatch(word) for word in others):
            return families[0]
        return None

    def _aliases(self) -> Sequence[str]:
        told = [m.value for m in self._models if m.value != _DEFAULT]
        return tuple(dict.fromkeys((*FAMILIES, *told)))

    def _full_ids(self) -> Sequence[str]:
        return [m.resolved_model for m in self._models if m.resolved_model]


def _normal(name: str | None) -> str:
    wanted = (name or "").strip().lower()
    return "" if wanted == _DEFAULT else wanted
