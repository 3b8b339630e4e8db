"""Sends random requests through HTTP and the real CLI, and compares the bodies."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import define, evolve, field, frozen
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from ccproxy.core.errors import ModelNotFound
from ccproxy.server.scripted_reply import Reply
from tests.support import chat_requests, responses_requests
from tests.support.comparison import differences
from tests.support.first_party import unexpected_keys
from tests.support.fitting_replies import fitting_reply
from tests.support.messages_requests import (
    MODELS,
    WITHOUT_EFFECT,
    messages_requests,
)
from tests.support.naming import misnamed, named
from tests.support.server import RunningProxy, Upstream, events

Request = dict[str, Any]

_HTTP_OK = 200
# Each answer says by its usage which body it belongs to.
_FIRST = 1000


@frozen
class Api:
    """An API of the proxy.

    Attributes:
        path: the path to which its requests are posted.
        requests: a strategy for valid requests, for some models.
        meaning: what a request means in the Messages API.
        is_translated: whether the Messages API has several equal requests.
        without_effect: fields that do not go up, and that the headers must report.
    """

    path: str
    requests: Callable[..., st.SearchStrategy[Request]]
    meaning: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    is_translated: bool = True
    without_effect: Sequence[Mapping[str, Any]] = ()


MESSAGES = Api(
    "/v1/messages",
    partial(messages_requests, without_effect=True),
    lambda sent: sent,
    is_translated=False,
    without_effect=WITHOUT_EFFECT,
)
CHAT = Api(
    "/v1/chat/completions",
    chat_requests.chat_requests,
    chat_requests.expected,
    without_effect=chat_requests.WITHOUT_EFFECT,
)
RESPONSES = Api(
    "/v1/responses",
    responses_requests.responses_requests,
    responses_requests.expected,
    without_effect=responses_requests.WITHOUT_EFFECT,
)


@frozen
class Sent:
    """A request of an API."""

    api: Api
    body: Request

    @property
    def meaning(self) -> dict[str, Any]:
        means = self.api.meaning(self.body)
        return {k: v for k, v in means.items() if k not in self.without_effect}

    @property
    def without_effect(self) -> set[str]:
        """The fields of the request that do not go up."""
        return {
            name
            for fields in self.api.without_effect
            for name, value in fields.items()
            if self.body.get(name) == value
        }

    def misnamed(self, told: Sequence[str], allowed: Sequence[str] = ()) -> list[str]:
        """Paths that the headers name, or do not name, wrongly."""
        needed = [*sorted(self.without_effect), *_left_out(self.body)]
        return misnamed(told, self.body, allowed, needed)

    @property
    def tools(self) -> set[str]:
        """The names of the request's tools."""
        return {tool["name"] for tool in self.meaning.get("tools") or ()}


@define
class Bench:
    """A server, and the models that its CLI has.

    Attributes:
        models: the full id of each name that clients may use.
        identity: the text of the CLI's own second block of ``system``.
        asked: how many requests were compared.
    """

    server: RunningProxy
    upstream: Upstream
    models: dict[str, str] = field(factory=dict)
    identity: str = ""
    asked: int = 0

    async def learn(self) -> None:
        """Find out the models of the CLI, and its own system blocks."""
        await self.server.ready()
        for name in MODELS:
            try:
                await self.server.backend.model(name)
            except ModelNotFound:
                continue
            response = await self.server.chat("hello", model=name)
            text = await response.text()
            assert response.code == _HTTP_OK, text
            body = self.upstream.bodies[-1]
            self.models[name] = body["model"]
            self.identity = body["system"][1]["text"]
        self.upstream.bodies.clear()

    def batches(self, *apis: Api) -> st.SearchStrategy[list[Sent]]:
        """Up to three requests that are sent at once."""
        names: dict[str, list[str]] = {}
        for name, full in self.models.items():
            names.setdefault(full, []).append(name)

        def called(api: Api) -> st.SearchStrategy[Sent]:
            # The strategies know what a model takes; a client may use its other name.
            asked = api.requests(models=sorted(names))
            return asked.flatmap(
                lambda body: st.sampled_from(names[body["model"]]).map(
                    lambda name: Sent(api, {**body, "model": name})
                )
            )

        return st.lists(
            st.one_of([called(api) for api in apis]), min_size=1, max_size=3
        )

    async def check(self, batch: Sequence[Sent]) -> None:
        """Send requests, and compare the bodies at the upstream with them.

        Raises:
            AssertionError: a field differs and is not reported.
        """
        self.upstream.bodies.clear()
        self.upstream.violations.clear()
        self.asked += len(batch)
        offered = set[str]().union(*(sent.tools for sent in batch))

        def script(body: Mapping[str, Any]) -> Reply:
            number = _FIRST + len(self.upstream.bodies)
            usage = {"input_tokens": number, "output_tokens": 1}
            return evolve(fitting_reply(body, offered), usage=usage)

        self.upstream.script(script)
        answers: list[tuple[int, Any]] = await gatherResults(
            [Deferred.fromCoroutine(self._ask(sent)) for sent in batch],
            consumeErrors=True,
        )
        if refused := [violation.message for violation in self.upstream.violations]:
            bodies = json.dumps([sent.body for sent in batch])
            raise AssertionError(f"refused upstream: {refused}: {bodies}")
        if len(self.upstream.bodies) != len(batch):
            asked = json.dumps([sent.body for sent in batch])
            told = json.dumps(self.upstream.bodies)
            raise AssertionError(f"not one request each: sent {asked}; upstream {told}")
        numbers = sorted(number for number, _ in answers)
        assert numbers == [_FIRST + 1 + index for index in range(len(batch))]
        for sent, (number, headers) in zip(batch, answers, strict=True):
            body = self.upstream.bodies[number - _FIRST - 1]
            if found := self._problems(sent, body, headers):
                raise AssertionError(
                    f"{found}: {sent.api.path} {json.dumps(sent.body)}"
                )

    async def _ask(self, sent: Sent) -> tuple[int, Any]:
        """Send a request; returns the number of its body, and the answer's headers."""
        body = sent.body
        if sent.api is CHAT and body.get("stream"):
            body = {**body, "stream_options": {"include_usage": True}}
        response = await self.server.post(sent.api.path, body)
        text = await response.text()
        if response.code != _HTTP_OK:
            raise AssertionError(f"{text}: {sent.api.path} {json.dumps(body)}")
        return _input_tokens(text), response.headers

    def _problems(self, sent: Sent, body: Mapping[str, Any], headers: Any) -> list[str]:
        wanted = {**sent.meaning, "model": self.models[sent.body["model"]]}
        effort = headers.getRawHeaders("x-ccproxy-effort")
        if effort is not None:
            told = body["output_config"]["effort"]
            assert effort == [told]
            wanted["output_config"] = {**wanted["output_config"], "effort": told}
        told_paths = named(headers)
        roles = [path for path in told_paths or () if path.endswith("].role")]
        if roles:
            # The CLI has not told which model its alias means, so it may have none.
            wanted["messages"] = [
                {**turn, "role": "user"} if turn["role"] == "system" else turn
                for turn in wanted["messages"]
            ]
        found = differences(wanted, body, joined=sent.api.is_translated)
        found += unexpected_keys(body, allowed=set(wanted))
        # Its breakpoint has the lifetime of the client's.
        if body["system"][1]["text"] != self.identity:
            found.append("system.1")
        if told_paths is not None:
            allowed = [path for path in roles if _is_instruction(sent.body, path)]
            found += sent.misnamed(told_paths, allowed)
        return found


def _left_out(request: Mapping[str, Any]) -> list[str]:
    """The paths of names, and of another provider's reasoning."""
    items, messages = request.get("input"), request.get("messages", ())
    return [
        *(f"messages[{n}].name" for n, m in enumerate(messages) if "name" in m),
        *(
            f"input[{number}]"
            for number, item in enumerate(items if isinstance(items, list) else ())
            if item.get("type") == "reasoning"
        ),
    ]


def _is_instruction(request: Mapping[str, Any], path: str) -> bool:
    """Whether a message has the role system or developer."""
    number = int(path.partition("[")[2].partition("]")[0])
    message = request.get("messages", request.get("input"))[number]
    return message["role"] in ("system", "developer")


def _input_tokens(text: str) -> int:
    documents = [text] if text.startswith("{") else events(text)
    for each in documents:
        if each == "[DONE]":
            continue
        document = json.loads(each)
        told = document.get("message") or document.get("response") or document
        usage = told.get("usage") or {}
        tokens = usage.get("input_tokens", usage.get("prompt_tokens"))
        if tokens:
            return int(tokens)
    raise AssertionError(f"no usage in {text[-500:]}")
