"""The models API: ``GET /models`` and ``GET /models/{model}``."""

from collections.abc import Iterable

import msgspec

_OWNER = "anthropic"


class _Model(msgspec.Struct):
    id: str
    created: int
    object: str = "model"
    owned_by: str = _OWNER


class _List(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[_Model]


def model_document(name: str, since_seconds: int) -> bytes:
    """Encode one ``Model``; ``created`` is when the proxy came to know it."""
    return msgspec.json.encode(_Model(name, since_seconds))


def models_document(models: Iterable[tuple[str, int]]) -> bytes:
    """Encode a ``ListModelsResponse`` of (name, Unix time) pairs."""
    return msgspec.json.encode(_List(data=[_Model(*model) for model in models]))
