"""The models API: ``GET /models`` and ``GET /models/{model}``."""

from collections.abc import Iterable

import msgspec

_OWNER = "anthropic"


class Model(msgspec.Struct):
    """A model."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = _OWNER


class ModelList(msgspec.Struct, kw_only=True):
    """All of them."""

    object: str = "list"
    data: list[Model]


def model_document(name: str, since_seconds: int) -> bytes:
    """Encode one ``Model``; ``created`` is when the proxy came to know it."""
    return msgspec.json.encode(Model(name, since_seconds))


def models_document(models: Iterable[tuple[str, int]]) -> bytes:
    """Encode a ``ListModelsResponse`` of (name, Unix time) pairs."""
    return msgspec.json.encode(ModelList(data=[Model(*model) for model in models]))
