"""The routes of models; clients with ``anthropic-version`` get Anthropic's format."""

from collections.abc import Sequence

from klein import Klein
from twisted.web.server import Request

from ccproxy.api.models.codex import CodexCatalogue, codex_catalogue
from ccproxy.api.models.schemas import (
    AnthropicModel,
    Model,
    ModelList,
    ModelPage,
    model_document,
    model_info,
    model_page,
    models_document,
)
from ccproxy.core.backend import ModelEntry
from ccproxy.core.errors import ModelNotFound, NotFound
from ccproxy.web import query
from ccproxy.web.context import RequestContext
from ccproxy.web.error_formats import ANTHROPIC, OPENAI, is_anthropic
from ccproxy.web.operation import Operation, json_response_spec, parameter
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Routes, add_error_handlers, route

# The default and the maximum of Anthropic's API.
_DEFAULT_PAGE, _LONGEST_PAGE = 20, 1000

_TEXT = {"type": "string"}
_VERSION = parameter(
    "anthropic-version",
    "With this header, answers and errors have Anthropic's format, on every route.",
    _TEXT,
    "header",
)
_PAGE = (
    parameter(
        "after_id", "With anthropic-version: only models after this model.", _TEXT
    ),
    parameter(
        "before_id", "With anthropic-version: only models before this model.", _TEXT
    ),
    parameter(
        "limit", "With anthropic-version: the number of models, from 1 to 1000.", _TEXT
    ),
)
_CODEX = parameter(
    "client_version", "With any value: the catalogue of the Codex CLI.", _TEXT
)
_WORDS = "In OpenAI's format; with anthropic-version, in Anthropic's format."
_LISTS = {"anyOf": [ModelList, ModelPage, CodexCatalogue]}


class ModelRoutes(Routes):
    """``GET /models`` and ``GET /models/{name}``."""

    _app = Klein()
    add_error_handlers(_app)

    @route(
        _app,
        "/models",
        methods=["GET"],
        operation=Operation(
            id="listModels",
            tag="models",
            summary="the models",
            parameters=(_VERSION, *_PAGE, _CODEX),
            responses=(json_response_spec(_LISTS, _WORDS),),
            error_formats=(OPENAI, ANTHROPIC),
            is_quiet=True,
        ),
    )
    async def list(self, context: RequestContext) -> bytes:
        """All models."""
        request = context.request
        models = await self.services.backend.models()
        if is_anthropic(request.requestHeaders):
            document = _page(request, models)
        elif query.text(request, "client_version") is not None:
            document = codex_catalogue(models)
        else:
            document = models_document(models)
        return json_response(request, document)

    @route(
        _app,
        "/models/<path:name>",
        methods=["GET"],
        operation=Operation(
            id="getModel",
            tag="models",
            summary="a model, by any name that a request may use",
            description="Slashes within the name need not be encoded.",
            parameters=(_VERSION,),
            responses=(json_response_spec({"anyOf": [Model, AnthropicModel]}, _WORDS),),
            # NotFound is the error for a name with a line break: no route matches it.
            errors=(ModelNotFound, NotFound),
            error_formats=(OPENAI, ANTHROPIC),
        ),
    )
    async def retrieve(self, context: RequestContext, name: str) -> bytes:
        """One model."""
        model = await self.services.backend.model(name)
        if is_anthropic(context.request.requestHeaders):
            document = model_info(model)
        else:
            document = model_document(model)
        return json_response(context.request, document)


def _page(request: Request, models: Sequence[ModelEntry]) -> bytes:
    limit = query.number(request, "limit", 1, _LONGEST_PAGE)
    return model_page(
        models,
        after=query.text(request, "after_id"),
        before=query.text(request, "before_id"),
        limit=limit or _DEFAULT_PAGE,
    )
