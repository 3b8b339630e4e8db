"""The structs of the models API, in OpenAI's and in Anthropic's form. Pure.

OpenAI's form has no fields for the size of a model. Programs look for it under the
names of other servers: ``context_length`` (OpenRouter), ``max_model_len`` (vLLM),
``max_input_tokens`` and ``max_output_tokens`` (LiteLLM), ``context_window`` and
``max_tokens``. All are left out until the CLI has reported the model's size.

Source: ``ModelInfo`` and ``Page`` of anthropic-python 2.14; the documents of
``GET /models`` of OpenRouter, vLLM, LiteLLM and Mistral.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from ccproxy.core.backend import ModelEntry
from ccproxy.core.errors import InvalidRequest

_OWNER = "anthropic"
# Anthropic's document: "May be set to an epoch value if the release date is unknown."
_UNKNOWN = "1970-01-01T00:00:00Z"
# The supported request parameters, under OpenRouter's names.
_PARAMETERS = (
    *("tools", "tool_choice", "parallel_tool_calls", "max_tokens", "stop"),
    *("reasoning", "include_reasoning", "reasoning_effort"),
    *("response_format", "structured_outputs"),
)


class ModelAbilities(msgspec.Struct, frozen=True):
    """The abilities of every model, under Mistral's names."""

    completion_chat: bool = True
    function_calling: bool = True
    vision: bool = True


class Model(msgspec.Struct):
    """A model in OpenAI's format. The sizes are in tokens."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = _OWNER
    capabilities: ModelAbilities = ModelAbilities()
    supported_parameters: tuple[str, ...] = _PARAMETERS
    context_length: int | UnsetType = UNSET
    context_window: int | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET
    max_input_tokens: int | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET


class ModelList(msgspec.Struct, kw_only=True):
    """All models, in OpenAI's format."""

    object: str = "list"
    data: list[Model]


def model_document(model: ModelEntry) -> bytes:
    """Encode one ``Model``; ``created`` is when the proxy learned of the model."""
    return msgspec.json.encode(_model(model))


def models_document(models: Sequence[ModelEntry]) -> bytes:
    """Encode a ``ListModelsResponse``."""
    return msgspec.json.encode(ModelList(data=[_model(model) for model in models]))


def _model(model: ModelEntry) -> Model:
    context_tokens = model.size.context_tokens or UNSET
    output_tokens = model.size.output_tokens or UNSET
    return Model(
        model.name,
        model.since_seconds,
        context_length=context_tokens,
        context_window=context_tokens,
        max_model_len=context_tokens,
        max_input_tokens=context_tokens,
        max_output_tokens=output_tokens,
        max_tokens=output_tokens,
    )


class AnthropicModel(msgspec.Struct, tag_field="type", tag="model"):
    """A model in Anthropic's format. The sizes are in tokens; null: not known."""

    id: str
    display_name: str
    created_at: str = _UNKNOWN
    lifecycle: str = "active"
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class ModelPage(msgspec.Struct):
    """A page of models in Anthropic's format."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def model_info(model: ModelEntry) -> bytes:
    """Encode one ``ModelInfo``."""
    return msgspec.json.encode(_model_info(model))


def _model_info(model: ModelEntry) -> AnthropicModel:
    return AnthropicModel(
        model.name,
        model.name,
        max_input_tokens=model.size.context_tokens,
        max_tokens=model.size.output_tokens,
    )


def model_page(
    models: Sequence[ModelEntry],
    *,
    after: str | None,
    before: str | None,
    limit: int,
) -> bytes:
    """Encode a `ModelPage`.

    Args:
        models: all models.
        after: the page begins after this model.
        before: the page ends before this model.
        limit: the most models of a page.

    Raises:
        InvalidRequest: ``after`` or ``before`` names no model.
    """
    names = [model.name for model in models]
    for field, name in (("after_id", after), ("before_id", before)):
        if name is not None and name not in names:
            raise InvalidRequest(f"`{field}`: there is no model {name!r}", param=field)
    start = 0 if after is None else names.index(after) + 1
    end = len(names) if before is None else names.index(before)
    inside = models[start:end]
    backwards = before is not None and after is None
    shown = inside[-limit:] if backwards else inside[:limit]
    return msgspec.json.encode(
        ModelPage(
            data=[_model_info(model) for model in shown],
            has_more=len(shown) < len(inside),
            first_id=shown[0].name if shown else None,
            last_id=shown[-1].name if shown else None,
        )
    )
