"""The structs of the models API, in OpenAI's and in Anthropic's form. Pure.

Source: ``ModelInfo`` and ``Page`` of anthropic-python 2.14.
"""

from collections.abc import Iterable, Sequence

import msgspec

from ccproxy.core.errors import InvalidRequest

_OWNER = "anthropic"
# Anthropic's document: "May be set to an epoch value if the release date is unknown."
_UNKNOWN = "1970-01-01T00:00:00Z"


class Model(msgspec.Struct):
    """A model in OpenAI's format."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = _OWNER


class ModelList(msgspec.Struct, kw_only=True):
    """All models, in OpenAI's format."""

    object: str = "list"
    data: list[Model]


def model_document(name: str, since_seconds: int) -> bytes:
    """Encode one `Model`.

    Args:
        name: the model's name.
        since_seconds: the Unix time at which the proxy learned of the model.
    """
    return msgspec.json.encode(Model(name, since_seconds))


def models_document(models: Iterable[tuple[str, int]]) -> bytes:
    """Encode a `ModelList` of pairs as in `model_document`."""
    return msgspec.json.encode(ModelList(data=[Model(*model) for model in models]))


class AnthropicModel(msgspec.Struct, tag_field="type", tag="model"):
    """A model in Anthropic's format."""

    id: str
    display_name: str
    created_at: str = _UNKNOWN
    lifecycle: str = "active"


class ModelPage(msgspec.Struct):
    """A page of models in Anthropic's format."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def model_info(name: str) -> bytes:
    """Encode one `AnthropicModel`."""
    return msgspec.json.encode(AnthropicModel(name, name))


def model_page(
    names: Sequence[str], *, after: str | None, before: str | None, limit: int
) -> bytes:
    """Encode a `ModelPage`.

    Args:
        names: the names of all models.
        after: the page begins after this model; None: at the first model.
        before: the page ends before this model; None: at the last model.
        limit: the largest number of models on the page.

    Raises:
        InvalidRequest: ``after`` or ``before`` names no model.
    """
    for field, name in (("after_id", after), ("before_id", before)):
        if name is not None and name not in names:
            raise InvalidRequest(f"`{field}`: there is no model {name!r}", param=field)
    start = 0 if after is None else names.index(after) + 1
    end = len(names) if before is None else names.index(before)
    inside = names[start:end]
    backwards = before is not None and after is None
    shown = inside[-limit:] if backwards else inside[:limit]
    return msgspec.json.encode(
        ModelPage(
            data=[AnthropicModel(name, name) for name in shown],
            has_more=len(shown) < len(inside),
            first_id=shown[0] if shown else None,
            last_id=shown[-1] if shown else None,
        )
    )
