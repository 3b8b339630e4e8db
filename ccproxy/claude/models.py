"""The models, and the resolution of their names. Pure.

A name is resolved by the first of these rules that applies:

1. No name, or ``default``, is the operator's default.
2. One of the operator's exact mappings.
3. One of the CLI's aliases or full ids.
4. The family that the name contains: ``anthropic/claude-sonnet-4.5`` is ``sonnet``.
5. One of the operator's patterns.

If none applies, the rules are tried without the name's suffixes
(`ccproxy.claude.model_names`). An unknown name is an error that lists the models.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from attrs import evolve, frozen

from ccproxy.claude.model_names import LONG_CONTEXT, split_name
from ccproxy.claude.protocol.records import ModelInfo
from ccproxy.core.backend import ModelEntry, ModelSize
from ccproxy.core.errors import ModelNotFound
from ccproxy.core.messages import MessagesRequest, WebSearch

# The CLI's efforts, the lowest first.
EFFORTS = ("low", "medium", "high", "xhigh", "max")
# The aliases that every version of the CLI has.
FAMILIES = ("haiku", "sonnet", "opus")
_DEFAULT = "default"
# The name of the client's field in every API.
_MODEL = "model"

# Longer than any model's name.
_LONGEST_NAME = 200
# The prefix of a cloud: `anthropic.`, `us-gov.anthropic.`.
_CLOUD = re.compile(r"(?:[a-z-]+\.)?anthropic\.")
# A full id: claude-opus-4-5, claude-opus-4-1-20250805, claude-3-5-haiku-latest.
_FULL_ID = re.compile(
    r"claude-(?:[a-z]+-\d+(?:-\d+)?(?:-\d{8})?|\d+(?:-\d+)?-[a-z]+-(?:\d{8}|latest))"
)
_SEPARATORS = re.compile(r"[-_.:@ ]+")
# Words that are ignored if the name contains a family: numbers, dates, general words.
_FILLER = re.compile(r"claude|anthropic|latest|v?\d+")


@frozen(kw_only=True)
class NamedModel:
    """The meaning of a client's model name.

    Attributes:
        model: the name for the CLI.
        thinks: whether the name asks for thinking.
        searches_web: whether the name asks for web search.
        ignored: ``model``, if the name has a suffix without effect.
    """

    model: str
    thinks: bool = False
    searches_web: bool = False
    ignored: tuple[str, ...] = ()

    def applied_to(self, request: MessagesRequest) -> MessagesRequest:
        """The request with the features that the model's name asks for."""
        if self.thinks:
            # The CLI's default is to think, whatever the model's own default is.
            request = evolve(request, default_thinking="cli", shows_thinking=True)
        if self.searches_web:
            wishes = (*request.web_searches, WebSearch(at=_MODEL))
            request = evolve(request, web_searches=wishes)
        return request


class Catalogue:
    """The operator's mappings, the CLI's models, and the resolution of names."""

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
        self._sizes: dict[str, ModelSize] = {}
        # The CLI's models by their lower-case names.
        self._infos: dict[str, ModelInfo] = {}
        # The CLI's spelling of each name, by the lower-case name.
        self._listed: dict[str, str] = {}
        self._index()

    def learn(self, models: Sequence[ModelInfo]) -> None:
        """Take the CLI's models; an empty list changes nothing."""
        if models:
            self._models = models
            self._index()

    def learn_sizes(self, sizes: Mapping[str, ModelSize]) -> None:
        """Take the sizes of models, by their full ids."""
        self._sizes.update(sizes)

    def _index(self) -> None:
        self._infos.clear()
        for info in self._models:
            for name in (info.value, info.resolved_model or ""):
                self._infos.setdefault(name.lower(), info)
        self._listed.clear()
        for name in (*self._full_ids(), *self._aliases()):
            self._listed.setdefault(name.lower(), name)

    def is_plain(self, name: str | None) -> bool:
        """Whether a name can be resolved without the CLI's list of models."""
        name = _normal(name)
        return not name or name in self._exact or name in FAMILIES

    def resolve(self, name: str | None) -> str:
        """Resolve a client's name of a model to the CLI's name.

        Raises:
            ModelNotFound: there is no such model and no mapping.
        """
        return self.read(name).model

    def read(self, name: str | None) -> NamedModel:
        """Resolve a client's name of a model, and interpret the name's suffixes.

        Raises:
            ModelNotFound: there is no such model and no mapping.
        """
        wanted = _normal(name)
        if len(wanted) > _LONGEST_NAME:
            raise ModelNotFound("there is no model with such a name", param="model")
        whole = self._find(wanted)
        if whole is not None:
            return NamedModel(model=whole)
        split = split_name(wanted)
        has_suffix = split.base not in ("", wanted)
        base = self._find(split.base) if has_suffix else None
        if base is None:
            raise ModelNotFound(
                f"there is no model {name!r} here; there are: "
                f"{', '.join(entry.name for entry in self.entries())}. "
                "Use one of them, or map the name with --model-map",
                param="model",
            )
        longer = None
        if split.has_long_context:
            longer = self._listed.get(f"{base}{LONG_CONTEXT}".lower())
        is_unused = split.has_other or (split.has_long_context and longer is None)
        return NamedModel(
            model=longer or base,
            thinks=split.thinks,
            searches_web=split.is_online,
            ignored=(_MODEL,) if is_unused else (),
        )

    def _find(self, wanted: str) -> str | None:
        """The model for a lower-case name, with its suffixes; None: there is none."""
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
        return self._default if wanted == self._default.lower() else None

    def full_id(self, name: str) -> str:
        """The full id of the model with an alias.

        Returns the name itself if it is a full id, or if the CLI's models are not known
        yet. Older CLIs list some aliases only with the suffix ``[1m]``, for a longer
        context window; the model is the same.
        """
        info = self._info(name)
        if info is not None:
            return info.resolved_model or name
        longer = self._info(f"{name}{LONG_CONTEXT}")
        if longer is None or not longer.resolved_model:
            return name
        return longer.resolved_model.removesuffix(LONG_CONTEXT)

    def effort(self, name: str, wanted: str) -> str | None:
        """The nearest effort that a model supports; None: it supports none.

        Of two equally near efforts, the lower one is returned. A word that is not in
        `EFFORTS` is returned unchanged.
        """
        info = self._info(name)
        if info is None:
            return wanted
        if info.supports_effort is False:
            return None
        known = [e for e in EFFORTS if e in info.supported_effort_levels]
        if not known or wanted not in EFFORTS:
            # An older CLI does not report efforts.
            return wanted
        rank = EFFORTS.index(wanted)
        return min(known, key=lambda effort: abs(EFFORTS.index(effort) - rank))

    def _info(self, name: str) -> ModelInfo | None:
        return self._infos.get(name.lower())

    def entries(self) -> Sequence[ModelEntry]:
        """The models that a client may name, each once."""
        names = [*self._aliases(), *self._full_ids(), self._default, *self._exact]
        return [self._entry(name) for name in dict.fromkeys(names) if name != _DEFAULT]

    def find(self, name: str) -> ModelEntry:
        """The entry of the model that a client's name means.

        Raises:
            ModelNotFound: there is no such model and no mapping.
        """
        listed = (entry for entry in self.entries() if entry.name == name)
        return next(listed, None) or self._entry(self.resolve(name))

    def _entry(self, name: str) -> ModelEntry:
        full_id = self.full_id(self._operators(self._exact.get(name.lower(), name)))
        return ModelEntry(
            name=name,
            since_seconds=self._since_seconds,
            size=self._sizes.get(full_id, ModelSize()),
        )

    def unlisted(self) -> Sequence[str]:
        """The operator's models that the CLI does not list.

        Empty if the CLI has not listed its models yet. A full id counts as listed,
        because the CLI lists only its newest models but accepts any full id.
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
        wanted = self._operators(name).lower().removesuffix(LONG_CONTEXT)
        return bool(_FULL_ID.fullmatch(wanted)) or any(
            wanted == listed.lower().removesuffix(LONG_CONTEXT)
            for listed in self.listed()
        )

    def _operators(self, name: str) -> str:
        """Resolve a name that the operator has configured; a full id is unchanged."""
        if name.lower() == _DEFAULT:
            name = self._default
        if _FULL_ID.fullmatch(name):
            return name
        return self._known(name.lower()) or name

    def _known(self, name: str) -> str | None:
        if name in self._listed:
            return self._listed[name]
        # Routers put a prefix before the name, such as ``anthropic/``.
        own = name.rpartition("/")[2]
        cloud = _CLOUD.match(own)
        words = _SEPARATORS.split(own[cloud.end() :] if cloud else own)
        families = [word for word in words if word in self._aliases()]
        others = [word for word in words if word not in self._aliases()]
        if len(families) == 1 and all(_FILLER.fullmatch(word) for word in others):
            return families[0]
        return None

    def _aliases(self) -> Sequence[str]:
        listed = [m.value for m in self._models if m.value != _DEFAULT]
        return tuple(dict.fromkeys((*FAMILIES, *listed)))

    def _full_ids(self) -> Sequence[str]:
        return [m.resolved_model for m in self._models if m.resolved_model]


def _normal(name: str | None) -> str:
    wanted = (name or "").strip().lower()
    return "" if wanted == _DEFAULT else wanted
