"""The model learns nothing of the host, and the host nothing of a prompt."""

import json
from collections.abc import Callable
from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.support.server import RunningProxy, Upstream
from tests.support.tool_calls import native

Start = Callable[..., RunningProxy]


@ensureDeferred
async def test_settings_memory_and_hooks_of_the_host_are_ignored(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    hooked = tmp_path / "hooked"
    folder = tmp_path / ".claude"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("SECRET-MEMORY")
    (tmp_path / "CLAUDE.md").write_text("SECRET-MEMORY")
    command = {"type": "command", "command": f"touch {hooked}"}
    hooks = [{"hooks": [command]}]
    names = ("UserPromptSubmit", "SessionStart", "Stop")
    settings = {
        "hooks": dict.fromkeys(names, hooks),
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/"},
        "model": "haiku",
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    server = {"command": "touch", "args": [str(hooked)]}
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"x": server}}))
    skill = folder / "skills" / "leak"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: leak\ndescription: SECRET-SKILL\n---\n")
    response = await proxy(fresh=True).chat("hello")
    assert response.code == 200
    assert await response.json()
    [body] = upstream.bodies
    assert body["model"] == "claude-sonnet-5-5"
    assert "SECRET" not in json.dumps(body)
    assert not hooked.exists()


@ensureDeferred
async def test_nothing_of_a_prompt_is_on_a_command_line(
    proxy: Start, upstream: Upstream
) -> None:
    found: list[bool] = []

    def look(body: object) -> object:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found.append(b"unspeakable" in entry.read_bytes())
            except OSError:
                continue
        return original(body)  # type: ignore[arg-type]  # what the CLI sent

    original = upstream.api.script
    upstream.api.script = look  # type: ignore[assignment]  # the same shape
    system = {"role": "system", "content": "unspeakable"}
    response = await proxy().chat(system, "unspeakable")
    assert await response.json()
    assert found
    assert not any(found)


@ensureDeferred
async def test_a_key_helper_has_nothing_of_a_question(
    proxy: Start, upstream: Upstream, claude: Path, tmp_path: Path
) -> None:
    """A program that the CLI starts inherits its environment, where bodies stand."""
    seen, helper, binary = (tmp_path / name for name in ("seen", "helper", "claude"))
    helper.write_text(f"#!/bin/sh\nenv >> {seen}\necho key-of-the-helper\n")
    settings = json.dumps({"apiKeyHelper": str(helper)})
    binary.write_text(f"#!/bin/sh\nexec {claude} \"$@\" --settings '{settings}'\n")
    for program in (helper, binary):
        program.chmod(0o755)
    server = proxy(claude_bin=binary, environment={"ANTHROPIC_API_KEY": ""})
    system = {"role": "system", "content": "unspeakable"}
    for size in (20, 200_000):
        upstream.reset()
        response = await server.chat(system, "unspeakable " * (size // 12 + 1))
        assert (await response.json())["choices"][0]["message"]["content"]
        [body] = upstream.bodies
        assert "unspeakable" in json.dumps(body["messages"])
        [request] = upstream.api.requests
        assert "key-of-the-helper" in str(request.headers)
    environments = seen.read_text()
    assert f"HOME={tmp_path}\n" in environments
    assert "unspeakable" not in environments
    status = await (await server.get("/ready")).json()
    assert status["claude"]["composer"] == "native"
    assert "apiKeyHelper" in status["claude"]["why_native"]


@ensureDeferred
async def test_environment_is_told_neither_the_cli_nor_the_model(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    environments: list[bytes] = []

    def look(body: object) -> object:
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = entry.read_bytes()
            except OSError:
                continue
            if f"HOME={tmp_path}".encode() in environment.split(b"\0"):
                environments.append(environment)
        return original(body)  # type: ignore[arg-type]  # what the CLI sent

    original = upstream.api.script
    upstream.api.script = look  # type: ignore[assignment]  # the same shape
    secrets = dict.fromkeys(("PROXY_API_KEY", "SECRET_OF_THE_HOST"), "hidden")
    response = await proxy(environment={**secrets, "LANG": "C"}).chat("hello")
    assert await response.json()
    assert environments
    assert all(b"hidden" not in environment for environment in environments)
    assert all(b"LANG=C" in environment for environment in environments)
    text = json.dumps(upstream.bodies[0])
    assert "hidden" not in text
    assert str(Path.cwd()) not in text
    # Nor is there a note of the CLI's on where it runs.
    [message] = upstream.bodies[0]["messages"]
    assert message["role"] == "user"
    assert native(upstream.bodies[0]) == [("user", [{"type": "text", "text": "hello"}])]
    assert "ccproxy" not in text
