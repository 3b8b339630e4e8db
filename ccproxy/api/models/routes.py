"""The routes of models, in the words of whoever asks."""

from collections.abc import Callable, Sequence

from twisted.web.server import Request

from ccproxy.api.models.anthropic import model_info, model_page
from ccproxy.api.models.openai import model_document, models_document
from ccproxy.web import query
from ccproxy.web.backend import Backend
from ccproxy.web.context import RequestContext
from ccproxy.web.error_formats import is_anthropic
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Router

# Anthropic's own.
_DEFAULT_PAGE, _LONGEST_PAGE = 20, 1000


class ModelRoutes:
    """``GET /models`` and ``GET /models/{model}``.

    Args:
        wall_seconds: Unix time, for ``created``.
    """

    def __init__(
        self, *, router: Router, backend: Backend, wall_seconds: Callable[[], float]
    ) -> None:
        self._backend = backend
        self._wall_seconds = wall_seconds
        router.add("GET", "/models", self._models)
        router.add("GET", "/models/<path:name>", self._model)

    async def _models(self, context: RequestContext) -> bytes:
        request = context.request
        entries = await self._backend.models()
        if is_anthropic(request.requestHeaders):
            document = _page(request, [entry.name for entry in entries])
        else:
            pairs = [(entry.name, entry.since_seconds) for entry in entries]
            document = models_document(pairs)
        return json_response(request, document)

    async def _model(self, context: RequestContext, name: str) -> bytes:
        entries = {e.name: e.since_seconds for e in await self._backend.models()}
        if name not in entries:
            # What would be answered exists, under the name that it resolves to.
            name = await self._backend.resolve(name)
        if is_anthropic(context.request.requestHeaders):
            document = model_info(name)
        else:
            since_seconds = entries.get(name, int(self._wall_seconds()))
            document = model_document(name, since_seconds)
        return json_response(context.request, document)


def _page(request: Request, names: Sequence[str]) -> bytes:
    limit = query.number(request, "limit", 1, _LONGEST_PAGE)
    return model_page(
        names,
        after=query.text(request, "after_id"),
        before=query.text(request, "before_id"),
        limit=limit or _DEFAULT_PAGE,
    )
