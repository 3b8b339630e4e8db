"""Stored responses, on the real CLI, with the official openai package."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors
from tests.integration.store.conftest import cluster as cluster
from tests.integration.store.conftest import run_sql
from tests.support.openai_client import client
from tests.support.server import KEY, RunningProxy, Upstream, answer, spoken
from tests.support.spec import compaction_errors, response_errors
from tests.support.tool_calls import native
from tests.support.waiting import until

_REACTOR: Any = reactor
Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

THINKING = Reply(
    blocks=(
        ScriptedBlock(("hm ", "hm"), is_thinking=True, signature="c2lnbmVk"),
        ScriptedBlock(redacted="ZGFyaw=="),
        words("the answer"),
    )
)
NATIVE_ANSWER = [
    {"type": "thinking", "thinking": "hm hm", "signature": "c2lnbmVk"},
    {"type": "redacted_thinking", "data": "ZGFyaw=="},
    {"type": "text", "text": "the answer"},
]
# A red dot.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHx"
    "gljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)


def plain(blocks: Any) -> Any:
    """Blocks without the marks that the CLI puts on them for its cache."""
    return [
        {name: value for name, value in block.items() if name != "cache_control"}
        for block in blocks
    ]


@ensureDeferred
async def test_chain_goes_upstream_as_the_whole_conversation(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(THINKING, answer("two it is"), answer())
    server = proxy()

    def talk() -> Any:
        with client(server) as api:
            one = api.responses.create(model="sonnet", input="one")
            two = api.responses.create(
                model="sonnet", input="two", previous_response_id=one.id
            )
            given = [
                {"role": "user", "content": "one"},
                *api.responses.retrieve(
                    one.id, include=["reasoning.encrypted_content"]
                ).model_dump(exclude_none=True)["output"],
                {"role": "user", "content": "two"},
            ]
            # Without anything kept, in the same words.
            api.responses.create(model="sonnet", input=given, store=False)
            listed = list(api.responses.input_items.list(two.id, limit=2))
            return one, two, listed

    one, two, listed = await deferToThread(talk)
    assert two.previous_response_id == one.id
    first, chained, told = [native(body) for body in upstream.bodies]
    assert len(first) == 1
    assert [role for role, _ in chained] == ["user", "assistant", "user"]
    assert plain(chained[1][1]) == NATIVE_ANSWER
    assert [plain(blocks) for _, blocks in told] == [
        plain(blocks) for _, blocks in chained
    ]
    # Pages, newest first; the package asks for them one by one.
    kinds = [item.type for item in listed]
    assert kinds == ["message", "message", "reasoning", "reasoning", "message"]


@ensureDeferred
async def test_thinking_of_another_model_is_not_given_back(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(THINKING, answer())
    server = proxy()
    one = await (await server.post("/responses", {"input": "one"})).json()
    body = {"input": "two", "previous_response_id": one["id"], "model": "opus"}
    two = await (await server.post("/responses", body)).json()
    assert two["status"] == "completed"
    _, (_, blocks), _ = native(upstream.bodies[-1])
    assert plain(blocks) == NATIVE_ANSWER[-1:]


LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    ("changes", "stays"),
    [
        ({}, ["one"]),
        ({"instructions": "Be loud."}, []),
        ({"instructions": None}, []),
        ({"tools": [{**LOOK, "description": "Looks closely."}]}, []),
        ({"tools": None}, []),
    ],
)
@ensureDeferred
async def test_thinking_behind_another_beginning_is_not_given_back(
    proxy: Start, upstream: Upstream, changes: dict[str, Any], stays: list[str]
) -> None:
    """The provider would refuse it; what was thought behind the new one is good."""
    one, two, three = [
        Reply(blocks=(ScriptedBlock((thought,), is_thinking=True), words("uno")))
        for thought in ("one", "two", "three")
    ]
    upstream.replies(one, two, three)
    first: dict[str, Any] = {"instructions": "Be brief.", "tools": [LOOK]}
    server = proxy()
    previous = None
    for number, fields in enumerate((first, first | changes, first | changes)):
        body = {"input": str(number), "previous_response_id": previous, **fields}
        response = await server.post("/v1/responses", body)
        document = await response.json()
        assert response.code == 200, document
        previous = document["id"]
    assert upstream.violations == []
    assert [thoughts(body) for body in upstream.bodies] == [[], stays, [*stays, "two"]]


@ensureDeferred
async def test_seals_alone_tell_what_stood_before(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """A server that remembers no answer of its own has them from the store."""
    one, two, three = [
        Reply(blocks=(ScriptedBlock((thought,), is_thinking=True), words("uno")))
        for thought in ("one", "two", "three")
    ]
    upstream.replies(one, two, three)
    previous = None
    for number, instructions in enumerate(("Be brief.", "Be brief.", "Be loud.")):
        server = proxy(state_dir=tmp_path / "state")
        body = {
            "input": str(number),
            "previous_response_id": previous,
            "instructions": instructions,
        }
        response = await server.post("/v1/responses", body)
        document = await response.json()
        assert response.code == 200, document
        previous = document["id"]
        await server.stop()
    assert upstream.violations == []
    assert [thoughts(body) for body in upstream.bodies] == [[], ["one"], []]


def thoughts(body: Mapping[str, Any]) -> list[str]:
    """The thinking that a body holds."""
    blocks = [block for _, blocks in native(body) for block in blocks]
    return [block["thinking"] for block in blocks if block["type"] == "thinking"]


@ensureDeferred
async def test_background_response_is_polled_and_heard_from_anywhere(
    proxy: Start, upstream: Upstream
) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer(hold_after=2, held=held))
    server = proxy()

    def begin() -> Any:
        with client(server) as api:
            told = []
            events = api.responses.create(
                model="sonnet", input="hello", background=True, stream=True
            )
            for event in events:
                told.append(event)
                if event.type == "response.output_text.delta":
                    # The client is lost in mid-answer.
                    events.response.close()
                    return told

    told = await deferToThread(begin)
    assert [event.type for event in told[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    name, last = told[0].response.id, told[-1].sequence_number

    def poll() -> Any:
        with client(server) as api:
            return api.responses.retrieve(name)

    assert (await deferToThread(poll)).status == "in_progress"
    held.callback(None)

    def hear() -> Any:
        with client(server) as api:
            events = api.responses.retrieve(name, stream=True, starting_after=last)
            return list(events), api.responses.retrieve(name)

    rest, done = await deferToThread(hear)
    numbers = [event.sequence_number for event in rest]
    assert numbers == list(range(last + 1, last + 1 + len(rest)))
    texts = [e.delta for e in (*told, *rest) if e.type == "response.output_text.delta"]
    assert "".join(texts) == "one two three"
    assert done.status == "completed"
    assert done.output_text == "one two three"
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_background_response_is_cancelled_with_its_cli(
    proxy: Start, upstream: Upstream
) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer(hold_after=2, held=held))
    server = proxy()

    def run() -> Any:
        with client(server) as api:
            begun = api.responses.create(model="sonnet", input="hello", background=True)
            while api.responses.retrieve(begun.id).status != "in_progress":
                pass
            return api.responses.cancel(begun.id), api.responses.retrieve(begun.id)

    cancelled, kept = await deferToThread(run)
    assert cancelled.status == kept.status == "cancelled"
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)


@ensureDeferred
async def test_conversation_of_the_package(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def talk() -> Any:
        with client(server) as api:
            made = api.conversations.create(
                metadata={"topic": "demo"},
                items=[{"type": "message", "role": "user", "content": "one"}],
            )
            for text in ("two", "three"):
                api.responses.create(model="sonnet", input=text, conversation=made.id)
            items = list(api.conversations.items.list(made.id, order="asc", limit=2))
            return made, items

    made, items = await deferToThread(talk)
    assert made.metadata == {"topic": "demo"}
    assert len(items) == 5
    assert spoken(upstream.bodies[-1]) == [
        ("user", ["one"]),
        ("user", ["two"]),
        ("assistant", ["one two three"]),
        ("user", ["three"]),
    ]


@ensureDeferred
async def test_compacted_conversation_goes_on(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(answer("They said: uno."), answer("on we go"))
    server = proxy()

    def talk() -> Any:
        with client(server) as api:
            compacted = api.responses.compact(
                model="sonnet",
                input=[
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "uno"},
                ],
            )
            items = [item.model_dump(exclude_none=True) for item in compacted.output]
            given = [*items, {"role": "user", "content": "go on"}]
            return compacted, api.responses.create(model="sonnet", input=given)  # type: ignore[arg-type]

    compacted, response = await deferToThread(talk)
    document = compacted.model_dump(exclude_none=True)
    assert compaction_errors(document) == []
    assert "They said" not in json.dumps(document)
    assert response.output_text == "on we go"
    asked, went_on = [spoken(body) for body in upstream.bodies]
    assert asked[:2] == [("user", ["one"]), ("assistant", ["uno"])]
    assert [role for role, _ in asked] == ["user", "assistant", "user"]
    (_, [summary]), last = went_on
    assert summary.endswith("They said: uno.")
    assert last == ("user", ["go on"])


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
@ensureDeferred
async def test_socket_of_the_package(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def talk() -> list[Any]:
        told = []
        with client(server) as api, api.responses.connect() as socket:
            previous = None
            for text in ("one", "two"):
                socket.response.create(
                    model="sonnet",
                    input=text,
                    store=False,
                    previous_response_id=previous,
                )
                for event in socket:
                    told.append(event)
                    if event.type == "response.completed":
                        previous = event.response.id
                        break
        return told

    told = await deferToThread(talk)
    done = [event for event in told if event.type == "response.completed"]
    assert [event.response.output_text for event in done] == ["one two three"] * 2
    texts = [[block["text"] for block in b] for _, b in native(upstream.bodies[-1])]
    assert texts == [["one"], ["one two three"], ["two"]]


@ensureDeferred
async def test_images_and_files_are_native(proxy: Start, upstream: Upstream) -> None:
    server = proxy()
    text = "data:text/plain;base64,QC9ldGMvaG9zdG5hbWU="
    pdf = "JVBERi0xLjQKJSVFT0YK"
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
        {"type": "input_file", "filename": "a.txt", "file_data": text},
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": f"data:application/pdf;base64,{pdf}",
        },
    ]
    body = {"input": [{"role": "user", "content": content}]}
    response = await server.post("/v1/responses", body)
    document = await response.json()
    assert response.code == 200, document
    assert response_errors(document) == []
    [(_, blocks)] = native(upstream.bodies[-1])
    assert plain(blocks) == [
        {"type": "text", "text": "What is this?"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
        },
        {
            "type": "image",
            "source": {"type": "url", "url": "https://example.org/a.png"},
        },
        {
            "type": "document",
            "source": {
                "type": "text",
                "media_type": "text/plain",
                "data": "@/etc/hostname",
            },
            "title": "a.txt",
        },
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "application/pdf",
                "data": pdf,
            },
            "title": "a.pdf",
        },
    ]


# Servers come and go


@pytest.fixture
def child(
    claude: Path, upstream: Upstream, tmp_path: Path
) -> Iterator[Callable[[], "Child"]]:
    """Starts servers as processes of their own, which can be killed."""
    children: list[Child] = []

    def start() -> Child:
        children.append(Child(claude, upstream, tmp_path))
        return children[-1]

    yield start
    for one in children:
        one.kill(signal.SIGTERM)
        pytest_twisted.blockon(deferToThread(one.process.wait))


class Child:
    """One server as a process of its own."""

    def __init__(self, claude: Path, upstream: Upstream, home: Path) -> None:
        self.log = home / "log"
        command = "from ccproxy.cli.main import main; main()"
        options = ["--port", "0", "--state-dir", str(home / "state")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command, *options],
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(home),
                    "PROXY_API_KEY": KEY,
                    "CLAUDE_BIN": str(claude),
                    "ANTHROPIC_BASE_URL": upstream.url,
                    "ANTHROPIC_API_KEY": "sk-ant-dummy",
                },
            )

    async def url(self) -> str:
        """Where it listens, once it does."""
        while " listens on " not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            await deferLater(_REACTOR, 0.02)
        found = self.log.read_text().partition(" listens on ")[2].split(";")[0]
        return found.strip()

    def kill(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)


async def call(url: str, method: str, path: str, **options: Any) -> Any:
    headers: Any = {"authorization": f"Bearer {KEY}"}
    response: Any = await treq.request(
        method, url + path, headers=headers, persistent=False, **options
    )
    document = await response.json()
    assert response.code == 200, document
    return document


@ensureDeferred
async def test_killed_server_loses_only_what_was_in_flight(
    child: Callable[[], Child], upstream: Upstream
) -> None:
    held: Deferred[None] = Deferred()
    upstream.replies(THINKING, answer("never whole", hold_after=1, held=held))
    first = child()
    url = await first.url()
    one = await call(url, "POST", "/responses", json={"input": "one"})
    body = {"input": "two", "background": True, "previous_response_id": one["id"]}
    two = await call(url, "POST", "/responses", json=body)
    while two["status"] != "in_progress":
        two = await call(url, "GET", f"/responses/{two['id']}")
    first.kill(signal.SIGKILL)
    await deferToThread(first.process.wait)
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)
    second = child()
    url = await second.url()
    assert await call(url, "GET", f"/responses/{one['id']}") == one
    kept = await call(url, "GET", f"/responses/{two['id']}")
    assert kept["status"] == "failed"
    assert response_errors(kept) == []
    upstream.script(answer("three it is"))
    body = {"input": "three", "previous_response_id": one["id"]}
    three = await call(url, "POST", "/responses", json=body)
    assert three["status"] == "completed"
    _, (role, blocks), _ = native(upstream.bodies[-1])
    # Thinking too is what it was, sealed by the server that is gone.
    assert (role, plain(blocks)) == ("assistant", NATIVE_ANSWER)


@ensureDeferred
async def test_two_servers_of_one_database_continue_each_other(
    proxy: Start, upstream: Upstream, cluster: str, expected_errors: ExpectedErrors
) -> None:
    run_sql(cluster.format("postgres"), "CREATE DATABASE shared")
    upstream.replies(THINKING, answer("two it is"), answer("three it is"))
    one, two = [proxy(database_url=cluster.format("shared")) for _ in range(2)]
    previous = None
    for server, text in ((one, "one"), (two, "two"), (one, "three")):
        body = {"input": text, "previous_response_id": previous}
        response = await server.post("/v1/responses", body)
        document = await response.json()
        assert response.code == 200, document
        previous = document["id"]
    turns = native(upstream.bodies[-1])
    assert [role for role, _ in turns] == ["user", "assistant"] * 2 + ["user"]
    assert plain(turns[1][1]) == NATIVE_ANSWER
    assert turns[3][1][0]["text"] == "two it is"
