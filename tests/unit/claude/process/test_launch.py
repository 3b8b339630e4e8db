"""The command and environment of a CLI process, and the search for the binary."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.process.binary import (
    OLDEST_VERSION,
    check_program,
    check_version,
    find_claude,
    read_version,
)
from ccproxy.claude.process.launch import (
    MARKER,
    LaunchSpec,
    child_environment,
    exec_prefix,
    operator_body,
)
from ccproxy.claude.process.procfs import (
    is_stopped,
    leftovers,
    marked_processes,
)
from ccproxy.core.errors import ClaudeUnavailable
from tests.support.npm_stub import NPM_STUB


def launch(
    *agent_tools: str, environment: Mapping[str, str] | None = None
) -> LaunchSpec:
    return LaunchSpec(
        binary=Path("/opt/claude"),
        prefix=("/bin/env", "--chdir=/empty"),
        cwd=Path("/empty"),
        scratch=Path("/scratch"),
        environment=environment or {"HOME": "/home/me"},
        model="sonnet",
        agent_tools=agent_tools,
    )


def executable(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# The command.


def test_the_command_is_the_same_for_every_prompt() -> None:
    assert launch().argv == (
        "/bin/env",
        "--chdir=/empty",
        "/opt/claude",
        "--print",
        *("--input-format", "stream-json"),
        *("--output-format", "stream-json"),
        "--verbose",
        "--include-partial-messages",
        *("--model", "sonnet"),
        *("--tools", ""),
        "--strict-mcp-config",
        *("--permission-mode", "default"),
        *("--setting-sources", ""),
        "--no-session-persistence",
        *("--thinking-display", "summarized"),
        "--debug-to-stderr",
    )


def test_a_process_that_is_told_its_question() -> None:
    """It may call the client's tools, as often as it likes, under their own names."""
    told = launch().for_native_mode("client")
    argv = told.argv
    assert argv[argv.index("--allowedTools") + 1] == "mcp__client"
    assert "--max-turns" not in argv
    assert told.environment == {
        **launch().environment,
        "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
        "MCP_TOOL_TIMEOUT": "2147483647",
    }


def test_agent_tools_are_in_the_command() -> None:
    argv = launch("Read", "WebSearch").for_native_mode("client").argv
    assert argv[argv.index("--tools") + 1] == "Read,WebSearch"
    assert argv[argv.index("--allowedTools") + 1] == "mcp__client,Read,WebSearch"


def servers(*tools: str) -> LaunchSpec:
    """A launch with two MCP servers of the operator's."""
    files = {name: Path(f"/run/{name}.json") for name in ("shop", "mail")}
    return evolve(launch("Read", *tools), operator_servers=files)


def test_servers_of_the_operators_are_in_the_command_by_their_files() -> None:
    argv = servers("mcp__shop", "mcp__mail__send").for_native_mode("client").argv
    at = argv.index("--mcp-config")
    assert argv[at + 1 : at + 4] == (
        "/run/shop.json",
        "/run/mail.json",
        "--permission-mode",
    )
    assert argv[argv.index("--tools") + 1] == "Read"
    allowed = "mcp__client,Read,mcp__shop,mcp__mail__send"
    assert argv[argv.index("--allowedTools") + 1] == allowed
    assert "--mcp-config" not in servers("mcp__shop").for_body_mode().argv


@pytest.mark.parametrize(
    ("tools", "hidden"),
    [
        (["mcp__shop", "mcp__mail__*"], []),
        (["mcp__shop", "mcp__mail__send"], [("mail", "read")]),
        (["mcp__shop__send", "mcp__mail"], [("shop", "read")]),
    ],
)
def test_tools_that_are_off_are_hidden(
    tools: list[str], hidden: list[tuple[str, str]]
) -> None:
    spec = servers(*tools)
    each = [(server, tool) for server in ("shop", "mail") for tool in ("send", "read")]
    assert [pair for pair in each if spec.hides(*pair)] == hidden
    assert spec.has_limited_servers is bool(hidden)


def test_a_server_is_off_if_a_client_tool_has_its_prefix() -> None:
    spec = servers("mcp__shop", "mcp__mail__send")
    assert spec.without({"shop", "mcp__shops__x", "mcp__"}) is spec
    left = spec.without({"mcp__mail__read"})
    assert left.agent_tools == ("Read", "mcp__shop")
    assert [*left.operator_servers] == ["shop"]


def test_only_agent_tools_start_programs() -> None:
    assert not launch().spawns_children
    assert launch("Bash").spawns_children


def test_a_session_is_marked_in_its_environment_alone() -> None:
    plain = launch()
    marked = plain.marked("0123456789abcdef")
    assert marked.environment == {
        "HOME": "/home/me",
        MARKER: "0123456789abcdef",
        "TMPDIR": "/scratch/01234567",
    }
    assert marked.argv == plain.argv
    assert MARKER not in plain.environment


def test_where_the_body_is_set_whole_a_question_is_one_request() -> None:
    plain = launch("Bash")
    body = plain.for_body_mode()
    at = body.argv.index("--max-turns")
    assert body.argv[at : at + 2] == ("--max-turns", "1")
    assert body.argv[body.argv.index("--tools") + 1] == ""
    assert not body.spawns_children
    assert body.environment["CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"] == "1"
    assert body.environment["CLAUDE_CODE_TETHER_LIVE"] == "0"
    assert body.environment["CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE"] == "1"
    assert "ANTHROPIC_BETAS" not in body.environment
    # It has no tools to call, and no servers of any.
    assert "--allowedTools" not in body.argv
    assert not any("MCP" in name for name in body.environment)


def test_betas_come_behind_the_operators() -> None:
    plain = launch(environment={"ANTHROPIC_BETAS": "theirs-1, both-2,"})
    header = plain.for_body_mode(["both-2", "ours-3"]).environment["ANTHROPIC_BETAS"]
    assert header == "theirs-1,both-2,ours-3"


def test_the_operators_body_is_read() -> None:
    told = operator_body({"CLAUDE_CODE_EXTRA_BODY": '{"a": {"b": 1.0}, "c": null}'})
    assert {name: bytes(raw) for name, raw in told.items()} == {
        "a": b'{"b": 1.0}',
        "c": b"null",
    }


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_body_of_the_operators_is_none(text: str) -> None:
    assert operator_body({"CLAUDE_CODE_EXTRA_BODY": text}) == {}
    assert operator_body({}) == {}


@pytest.mark.parametrize("text", ["{", "[]", "3", "null"])
def test_an_operators_body_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ClaudeUnavailable, match="CLAUDE_CODE_EXTRA_BODY has to be"):
        operator_body({"CLAUDE_CODE_EXTRA_BODY": text})


def test_the_environment_is_no_part_of_what_is_printed() -> None:
    secret = launch(environment={"ANTHROPIC_API_KEY": "hush-hush"})
    assert "hush-hush" not in repr(secret)
    assert "hush-hush" not in repr(secret.marked("abc"))


# The environment.

FIXED = {
    "ENABLE_TOOL_SEARCH": "false",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
}
PASSED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"),
    *("LC_ALL", "LC_CTYPE", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"),
    *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"),
    *("AWS_PROFILE", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "CLOUD_ML_REGION"),
    "VERTEX_REGION_CLAUDE_HAIKU_4_5",
)
KEPT_BACK = (
    *("PROXY_API_KEY", "PROXY_API_KEY_FILE", "CCPROXY_LOG", "CCPROXY_SESSION"),
    *("CLAUDE_BIN", "CLAUDE_MODEL", "PORT", "HOST", "MAX_BODY"),
    *("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDECODE"),
    *("CLAUDE_CODE_EXTRA_BODY", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
    *("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", "CLAUDE_CODE_MAX_TURNS"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "SSH_AUTH_SOCK"),
    *("NODE_OPTIONS", "BUN_OPTIONS", "LD_PRELOAD", "PYTHONPATH", "PWD"),
)


@pytest.mark.parametrize("name", PASSED)
def test_what_the_cli_needs_is_passed(name: str) -> None:
    assert child_environment({name: "value"})[name] == "value"


@pytest.mark.parametrize("name", KEPT_BACK)
def test_what_is_not_its_business_is_kept_back(name: str) -> None:
    assert name not in child_environment({name: "value"})


@given(
    st.dictionaries(
        st.text(min_size=1).map("SECRET_".__add__) | st.sampled_from(KEPT_BACK),
        st.just("hush-hush"),
    )
)
def test_no_other_variable_is_ever_passed(environment: dict[str, str]) -> None:
    assert "hush-hush" not in child_environment(environment).values()


@pytest.mark.parametrize("name", FIXED)
def test_what_makes_the_cli_a_clean_pipe_is_fixed(name: str) -> None:
    assert child_environment({})[name] == FIXED[name]
    assert child_environment({name: "mine"})[name] == FIXED[name]


@pytest.mark.parametrize("name", FIXED)
def test_the_demo_changes_nothing_that_is_fixed(name: str) -> None:
    child = child_environment({name: "mine"}, demo_upstream="http://127.0.0.1:1")
    assert child[name] == FIXED[name]


def test_the_clis_own_retries_are_few() -> None:
    assert child_environment({})["CLAUDE_CODE_MAX_RETRIES"] == "4"


def test_the_operators_retries_win() -> None:
    child = child_environment({"CLAUDE_CODE_MAX_RETRIES": "9"})
    assert child["CLAUDE_CODE_MAX_RETRIES"] == "9"


def test_our_environment_is_left_alone() -> None:
    ours = {"PATH": "/bin", "PROXY_API_KEY": "k"}
    child_environment(ours)
    assert ours == {"PATH": "/bin", "PROXY_API_KEY": "k"}


def test_the_demo_asks_its_own_upstream() -> None:
    ours = {
        "ANTHROPIC_BASE_URL": "https://real.example",
        "ANTHROPIC_API_KEY": "real",
    }
    child = child_environment(ours, demo_upstream="http://127.0.0.1:1")
    assert child["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert child["ANTHROPIC_API_KEY"] == "demo"


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_MODEL",
        "ANTHROPIC_CUSTOM_HEADERS",
        "ANTHROPIC_VERTEX_PROJECT_ID",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUD_ML_REGION",
        "VERTEX_REGION_CLAUDE_HAIKU_4_5",
    ],
)
def test_the_demo_knows_nothing_of_a_real_provider(name: str) -> None:
    child = child_environment({name: "real"}, demo_upstream="http://127.0.0.1:1")
    assert name not in child


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "SSL_CERT_FILE"])
def test_the_demo_keeps_the_rest(name: str) -> None:
    child = child_environment({name: "value"}, demo_upstream="http://127.0.0.1:1")
    assert child[name] == "value"


# Versions.


@pytest.mark.parametrize(
    "version", ["2.1.251", "2.1.330", "2.2.0", "3.0.0", "10.0.0", "2.1.300-beta.1"]
)
def test_a_new_enough_version_passes(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["2.1.250", "2.0.999", "1.9.999", "0.2.330"])
def test_a_version_that_reads_files_is_refused(version: str) -> None:
    with pytest.raises(ClaudeUnavailable, match="@path") as caught:
        check_version(version)
    assert version in caught.value.message
    assert ".".join(map(str, OLDEST_VERSION)) in caught.value.message
    assert "claude update" in caught.value.message


@pytest.mark.parametrize("version", ["", "latest", "2.1", "two.one.zero"])
def test_no_version_is_refused(version: str) -> None:
    with pytest.raises(ClaudeUnavailable):
        check_version(version)


def test_the_binary_is_asked_for_its_version(tmp_path: Path) -> None:
    script = '[ "$1" = --version ] && echo "2.1.330 (Claude Code)"'
    assert read_version(executable(tmp_path / "claude", script)) == "2.1.330"


@pytest.mark.parametrize("script", ["echo hello", "exit 3", "printf '\\377\\376'"])
def test_a_binary_that_tells_no_version_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(ClaudeUnavailable, match="prints no version"):
        read_version(executable(tmp_path / "claude", script))


def test_the_stub_of_npms_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / "claude.exe"
    path.write_text(NPM_STUB)
    path.chmod(0o755)
    for refuse in (check_program, read_version):
        with pytest.raises(ClaudeUnavailable, match="without --ignore-scripts"):
            refuse(path)
    path.chmod(0o644)
    with pytest.raises(ClaudeUnavailable, match="gone or not executable"):
        check_program(path)
    # What cannot be read may run.
    check_program(executable(tmp_path / "claude", "exit 0"))


def test_a_binary_that_does_not_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claude"
    path.write_bytes(b"\x7fELF but not really")
    path.chmod(0o755)
    with pytest.raises(ClaudeUnavailable, match="does not run"):
        read_version(path)


# Where the CLI is.


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wheel that bundles the CLI."""
    monkeypatch.setitem(sys.modules, "claude_agent_sdk", None)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that bundles a CLI; its binary."""
    package = tmp_path / "site" / "claude_agent_sdk"
    binary = executable(package / "_bundled" / "claude")
    (package / "__init__.py").write_text("raise AssertionError('it is not imported')")
    monkeypatch.delitem(sys.modules, "claude_agent_sdk", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return binary


def test_the_named_one_comes_first(tmp_path: Path, wheel: Path) -> None:
    named = executable(tmp_path / "mine" / "claude")
    executable(tmp_path / "bin" / "claude")
    assert find_claude(named, str(tmp_path / "bin")) == named


def test_then_the_one_on_path(tmp_path: Path, wheel: Path) -> None:
    on_path = executable(tmp_path / "bin" / "claude")
    assert find_claude(None, f"/nowhere:{tmp_path / 'bin'}") == on_path


def test_then_the_one_in_the_wheel(tmp_path: Path, wheel: Path) -> None:
    assert find_claude(None, str(tmp_path)) == wheel


def test_a_bare_name_is_looked_up_on_path(tmp_path: Path) -> None:
    named = executable(tmp_path / "claude-next")
    assert find_claude(Path("claude-next"), str(tmp_path)) == named


def test_a_relative_path_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = executable(tmp_path / "bin" / "claude")
    monkeypatch.chdir(tmp_path)
    assert find_claude(Path("bin/claude"), "/nowhere") == named


def test_a_file_beside_us_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `--claude-bin ./claude`: a Path does not keep the `./`.
    named = executable(tmp_path / "claude")
    monkeypatch.chdir(tmp_path)
    assert find_claude(Path("./claude"), "/nowhere") == named


def test_a_relative_search_path_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = executable(tmp_path / "bin" / "claude")
    monkeypatch.chdir(tmp_path)
    assert find_claude(None, "bin") == named


@pytest.mark.usefixtures("no_wheel")
def test_a_missing_cli_tells_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ClaudeUnavailable) as caught:
        find_claude(None, str(tmp_path))
    assert "pip install" in caught.value.message
    assert "--claude-bin" in caught.value.message


def test_a_wheel_without_a_binary_is_none(tmp_path: Path, wheel: Path) -> None:
    wheel.unlink()
    with pytest.raises(ClaudeUnavailable, match="not found"):
        find_claude(None, str(tmp_path))


def test_a_named_file_that_is_not_there_is_an_error_even_if_another_is(
    tmp_path: Path, wheel: Path
) -> None:
    executable(tmp_path / "claude")
    with pytest.raises(ClaudeUnavailable, match=r"--claude-bin: .*nowhere"):
        find_claude(tmp_path / "nowhere", str(tmp_path))


def test_a_named_file_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "claude").write_text("text")
    with pytest.raises(ClaudeUnavailable, match="not an executable"):
        find_claude(tmp_path / "claude", str(tmp_path))


# What the command begins with.


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tools of Linux")
def test_on_linux_three_tools_put_the_cli_into_its_place(tmp_path: Path) -> None:
    tools = [executable(tmp_path / name) for name in ("env", "setpriv", "setsid")]
    assert exec_prefix(Path("/empty"), str(tmp_path)) == (
        str(tools[0]),
        "--chdir=/empty",
        str(tools[1]),
        *("--pdeathsig", "TERM"),
        str(tools[2]),
    )


def test_elsewhere_a_shell_changes_the_directory(tmp_path: Path) -> None:
    executable(tmp_path / "env")
    prefix = exec_prefix(Path("/my empty"), str(tmp_path))
    assert prefix[:2] == ("/bin/sh", "-c")
    assert prefix[-1] == "/my empty"


# Who is left, and what.


def process(proc: Path, pid: str, *variables: str) -> None:
    (proc / pid).mkdir(parents=True)
    environ = "\0".join(variables) + "\0"
    (proc / pid / "environ").write_bytes(environ.encode())


def test_marked_processes_are_found(tmp_path: Path) -> None:
    process(tmp_path, "10", "HOME=/", f"{MARKER}=abc")
    process(tmp_path, "20", f"{MARKER}=abc", "PATH=/bin")
    assert sorted(marked_processes("abc", tmp_path)) == [10, 20]


@pytest.mark.parametrize(
    "variable",
    [f"{MARKER}=abcd", f"{MARKER}=", f"X={MARKER}=abc", f"NOT_{MARKER}=abc", "A=abc"],
)
def test_other_processes_are_not_ours(tmp_path: Path, variable: str) -> None:
    process(tmp_path, "10", variable)
    assert marked_processes("abc", tmp_path) == []


def test_what_is_no_process_is_passed_over(tmp_path: Path) -> None:
    process(tmp_path, "self", f"{MARKER}=abc")
    (tmp_path / "meminfo").write_text("")
    (tmp_path / "30").mkdir()
    assert marked_processes("abc", tmp_path) == []


def test_without_proc_there_is_nothing_to_see(tmp_path: Path) -> None:
    assert marked_processes("abc", tmp_path / "nowhere") == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
def test_a_mark_that_no_one_has_is_found_nowhere() -> None:
    assert marked_processes(f"no one's {os.getpid()}") == []


def leave(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_leftovers_are_the_entry_and_its_key(tmp_path: Path) -> None:
    entry = leave(tmp_path / "home" / ".claude" / "sessions" / "42.json")
    key = leave(tmp_path / "home" / ".claude" / "sessions" / "42.ab.key")
    environment = {"HOME": str(tmp_path / "home")}
    assert set(leftovers(environment, 42)) == {entry, key}


def test_leftovers_are_looked_for_in_the_clis_own_folder(tmp_path: Path) -> None:
    entry = leave(tmp_path / "config" / "sessions" / "42.json")
    environment = {
        "HOME": str(tmp_path),
        "CLAUDE_CONFIG_DIR": str(tmp_path / "config"),
    }
    assert leftovers(environment, 42) == [entry]


def test_a_socket_elsewhere_is_left_too(tmp_path: Path) -> None:
    socket = leave(tmp_path / "socks" / "42.sock")
    entry = leave(tmp_path / ".claude" / "sessions" / "42.json")
    for named, found in (
        (str(socket), {entry, socket}),
        (str(tmp_path / "socks" / "43.sock"), {entry}),
        ("", {entry}),
    ):
        entry.write_text(json.dumps({"messagingSocketPath": named, "pid": 42}))
        assert set(leftovers({"HOME": str(tmp_path)}, 42)) == found
    entry.write_text("{")
    assert leftovers({"HOME": str(tmp_path)}, 42) == [entry]


@pytest.mark.parametrize(
    ("state", "expected"), [("R", False), ("S", False), ("T", True), ("Z", True)]
)
def test_a_process_that_stands_still(
    tmp_path: Path, state: str, expected: bool
) -> None:
    leave(tmp_path / "42" / "stat").write_text(f"42 (a) b) {state} 1 42 42 0")
    assert is_stopped(42, tmp_path) is expected
    assert not is_stopped(43, tmp_path)


def test_what_others_left_stays(tmp_path: Path) -> None:
    leave(tmp_path / ".claude" / "sessions" / "421.json")
    leave(tmp_path / ".claude" / "sessions" / "4.json")
    leave(tmp_path / ".claude" / "history.42")
    environment = {"HOME": str(tmp_path)}
    assert leftovers(environment, 42) == []
