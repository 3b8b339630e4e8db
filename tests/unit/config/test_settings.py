"""Every option: by flag, by variable, by default, and what is wrong with it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccproxy.config.options import OPTIONS, Option
from ccproxy.config.settings import (
    Settings,
    SettingsError,
    read_settings,
    without_effect,
)

KEY = {"PROXY_API_KEY": "k"}


def read(
    flags: Mapping[str, str | list[str]] | None = None,
    environment: Mapping[str, str] = KEY,
    files: Mapping[str, str] | None = None,
) -> Settings:
    """Read settings; ``files`` are the only ones there are."""

    def read_text(path: Path) -> str:
        try:
            return (files or {})[str(path)]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", str(path)) from None

    given_flags = {
        name: [texts] if isinstance(texts, str) else texts
        for name, texts in (flags or {}).items()
    }
    return read_settings(given_flags, environment, read_text)


# Options: flag, variable, attribute, text, value, another text, its value.
CASES: list[tuple[str, str, str, str, Any, str, Any]] = [
    ("api-key", "PROXY_API_KEY", "api_keys", "a", ("a",), "b", ("b",)),
    (
        *("port", "PORT", "listen"),
        *("9000", ("tcp:9000:interface=127.0.0.1",)),
        *("0", ("tcp:0:interface=127.0.0.1",)),
    ),
    (
        *("host", "HOST", "listen"),
        *("0.0.0.0", ("tcp:8080:interface=0.0.0.0",)),
        *("localhost", ("tcp:8080:interface=localhost",)),
    ),
    (
        *("listen", "CCPROXY_LISTEN", "listen"),
        *("unix:/run/a.sock", ("unix:/run/a.sock",)),
        *("tcp:1", ("tcp:1",)),
    ),
    (
        *("allowed-hosts", "CCPROXY_ALLOWED_HOSTS", "allowed_hosts"),
        *("Proxy.example", ("proxy.example",)),
        *("*.example", ("*.example",)),
    ),
    (
        *("cors-origin", "CCPROXY_CORS_ORIGIN", "cors_origins"),
        *("https://Chat.example/", ("https://chat.example",)),
        *("*", ("*",)),
    ),
    ("max-connections", "CCPROXY_MAX_CONNECTIONS", "max_connections", "2", 2, "9", 9),
    ("head-timeout", "CCPROXY_HEAD_TIMEOUT", "head_seconds", "9", 9.0, "2m", 120.0),
    ("body-timeout", "CCPROXY_BODY_TIMEOUT", "body_seconds", "9", 9.0, "3m", 180.0),
    ("keep-alive", "CCPROXY_KEEP_ALIVE", "keep_alive_seconds", "9", 9.0, "2m", 120.0),
    ("reader-timeout", "CCPROXY_READER_TIMEOUT", "reader_seconds", "9", 9.0, "8", 8.0),
    ("model", "CLAUDE_MODEL", "model", "opus", "opus", " haiku ", "haiku"),
    (
        *("model-map", "CCPROXY_MODEL_MAP", "model_map"),
        *("gpt-4o=opus", (("gpt-4o", "opus"),)),
        *("* = sonnet", (("*", "sonnet"),)),
    ),
    (
        *("claude-bin", "CLAUDE_BIN", "claude_bin"),
        *("/opt/claude", Path("/opt/claude")),
        *("claude2", Path("claude2")),
    ),
    (
        *("agent-tools", "CCPROXY_AGENT_TOOLS", "agent_tools"),
        *("Read,WebSearch", ("Read", "WebSearch")),
        *(" Read ,, ", ("Read",)),
    ),
    (
        *("forward-sampling", "CCPROXY_FORWARD_SAMPLING", "forward_sampling"),
        *("1", True, "no", False),
    ),
    ("max-body", "MAX_BODY", "max_body_bytes", "2MiB", 2**21, "500", 500),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "max_processes", "2", 2, "10", 10),
    (
        *("show-agent-tools", "CCPROXY_SHOW_AGENT_TOOLS", "show_agent_tools"),
        *("1", True, "on", True),
    ),
    ("spares", "CCPROXY_SPARES", "spares", "0", 0, "3", 3),
    ("idle-seconds", "CCPROXY_IDLE_SECONDS", "idle_seconds", "2m", 120.0, "9", 9.0),
    (
        *("recycle-rss", "CCPROXY_RECYCLE_RSS", "recycle_bytes"),
        *("300MB", 300_000_000),
        *("1GiB", 2**30),
    ),
    ("compose", "CCPROXY_COMPOSE", "compose", "body", "body", "Native", "native"),
    ("reuse", "CCPROXY_REUSE", "reuse", "off", "off", "Continue", "continue"),
    ("max-queue", "CCPROXY_MAX_QUEUE", "max_queue", "0", 0, "10", 10),
    ("queue-seconds", "CCPROXY_QUEUE_SECONDS", "queue_seconds", "2m", 120.0, "9", 9.0),
    ("drain-seconds", "CCPROXY_DRAIN_SECONDS", "drain_seconds", "2m", 120.0, "9", 9.0),
    ("max-suspended", "CCPROXY_MAX_SUSPENDED", "max_suspended", "0", 0, "10", 10),
    (
        *("suspended-timeout", "CCPROXY_SUSPENDED_TIMEOUT", "suspended_seconds"),
        *("90s", 90.0, "2m", 120.0),
    ),
    (
        *("forward-tool-choice", "CCPROXY_FORWARD_TOOL_CHOICE", "forward_tool_choice"),
        *("1", True, "on", True),
    ),
    (
        *("first-token-timeout", "CCPROXY_FIRST_TOKEN_TIMEOUT", "first_token_seconds"),
        *("90s", 90.0, "2m", 120.0),
    ),
    (
        *("silence-timeout", "CCPROXY_SILENCE_TIMEOUT", "silence_seconds"),
        *("1.5", 1.5, "1h", 3600.0),
    ),
    (
        *("turn-timeout", "CCPROXY_TURN_TIMEOUT", "turn_seconds"),
        *("5min", 300.0, "7", 7.0),
    ),
    (
        *("state-dir", "CCPROXY_STATE_DIR", "state_dir"),
        *("/var/lib/c", Path("/var/lib/c")),
        *("here", Path("here")),
    ),
    (
        *("database-url", "CCPROXY_DATABASE_URL", "database_url"),
        *("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        *("postgresql://h/d?x=y", "postgresql+psycopg://h/d?x=y"),
    ),
    (
        *("keep-days", "CCPROXY_KEEP_DAYS", "keep_days"),
        *("1.5", 1.5, "Forever", None),
    ),
    ("keep-size", "CCPROXY_KEEP_SIZE", "keep_bytes", "5MB", 5_000_000, "9", 9),
    ("remember", "CCPROXY_REMEMBER", "remember", "off", "off", "Memory", "memory"),
    ("open-metrics", "CCPROXY_OPEN_METRICS", "open_metrics", "1", True, "no", False),
    ("log-level", "CCPROXY_LOG", "log_level", "debug", "debug", "WARN", "warn"),
    ("log-format", "CCPROXY_LOG_FORMAT", "log_format", "json", "json", "Text", "text"),
    ("demo", "CCPROXY_DEMO", "demo", "1", True, "off", False),
]
WITH_KEY_FILE = [*(case[:3] for case in CASES), ("api-key-file", "", "")]


def test_every_option_has_a_case_here() -> None:
    assert {option.name for option in OPTIONS} == {case[0] for case in WITH_KEY_FILE}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_an_option_by_flag(case: tuple[Any, ...]) -> None:
    flag, _, attribute, text, value, *_ = case
    assert getattr(read({flag: text}), attribute) == value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_an_option_by_variable(case: tuple[Any, ...]) -> None:
    _, variable, attribute, text, value, *_ = case
    assert getattr(read(environment={**KEY, variable: text}), attribute) == value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_flag_wins_over_the_variable(case: tuple[Any, ...]) -> None:
    flag, variable, attribute, text, value, other, _ = case
    taken = read({flag: text}, {**KEY, variable: other})
    assert getattr(taken, attribute) == value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_last_flag_of_two_wins_unless_both_count(case: tuple[Any, ...]) -> None:
    flag, _, attribute, text, value, other, other_value = case
    both = flag in ("listen", "model-map", "allowed-hosts", "cors-origin")
    expected = (*value, *other_value) if both else other_value
    assert getattr(read({flag: [text, other]}), attribute) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_an_empty_variable_is_not_set(case: tuple[Any, ...]) -> None:
    _, variable, attribute, *_ = case
    if variable == "PROXY_API_KEY":
        with pytest.raises(SettingsError, match="no key is set"):
            read(environment={variable: ""})
    else:
        taken = read(environment={**KEY, variable: ""})
        assert getattr(taken, attribute) == getattr(read(), attribute)


def test_the_defaults() -> None:
    assert read() == Settings(
        api_keys=("k",),
        listen=("tcp:8080:interface=127.0.0.1",),
        model="sonnet",
        model_map=(),
        claude_bin=None,
        agent_tools=(),
        forward_sampling=False,
        max_body_bytes=4 * 1024 * 1024,
        max_processes=None,
        spares=1,
        idle_seconds=600.0,
        recycle_bytes=600_000_000,
        compose="auto",
        reuse=None,
        max_suspended=None,
        suspended_seconds=None,
        max_queue=64,
        queue_seconds=60.0,
        drain_seconds=30.0,
        first_token_seconds=120.0,
        silence_seconds=120.0,
        turn_seconds=1800.0,
        log_level="info",
        log_format="text",
        demo=False,
    )


def test_the_classes_defaults_are_the_options() -> None:
    assert read() == Settings(api_keys=("k",))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_a_variable_and_a_help(option: Option) -> None:
    assert option.environment
    assert option.help


def test_no_flag_letter_or_variable_stands_for_two_options() -> None:
    for names in (
        [option.name for option in OPTIONS],
        [option.environment for option in OPTIONS],
        [option.short for option in OPTIONS if option.short],
    ):
        assert len(names) == len(set(names))


def test_a_repeatable_variable_is_cut_at_commas() -> None:
    environment = {**KEY, "CCPROXY_MODEL_MAP": "a=opus,b=haiku"}
    assert read(environment=environment).model_map == (("a", "opus"), ("b", "haiku"))


def test_other_variables_are_not_looked_at() -> None:
    environment = {**KEY, "": "x", "MODEL": "opus", "CCPROXY_PORT": "1"}
    assert read(environment=environment) == read()


def test_listen_wins_over_host_and_port() -> None:
    taken = read({"listen": "unix:a", "port": "1", "host": "b"})
    assert taken.listen == ("unix:a",)


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("::1", r"tcp:8080:interface=\:\:1"),
        ("::", r"tcp:8080:interface=\:\:"),
        ("fe80::1", r"tcp:8080:interface=fe80\:\:1"),
    ],
)
def test_an_ipv6_host_is_escaped_for_twisted(host: str, endpoint: str) -> None:
    assert read({"host": host}).listen == (endpoint,)


# What is wrong.

WRONG = [
    ("api-key", "PROXY_API_KEY", "two words"),
    ("api-key", "PROXY_API_KEY", "schlüssel"),
    ("api-key", "PROXY_API_KEY", "tab\there"),
    ("port", "PORT", "http"),
    ("port", "PORT", "65536"),
    ("port", "PORT", "-1"),
    ("port", "PORT", "80.5"),
    ("host", "HOST", "  "),
    ("listen", "CCPROXY_LISTEN", " "),
    ("model", "CLAUDE_MODEL", " "),
    ("allowed-hosts", "CCPROXY_ALLOWED_HOSTS", "http://a.example"),
    ("allowed-hosts", "CCPROXY_ALLOWED_HOSTS", "a.*.example"),
    ("cors-origin", "CCPROXY_CORS_ORIGIN", "chat.example"),
    ("cors-origin", "CCPROXY_CORS_ORIGIN", "https://chat.example/path"),
    ("max-connections", "CCPROXY_MAX_CONNECTIONS", "0"),
    ("head-timeout", "CCPROXY_HEAD_TIMEOUT", "0"),
    ("model-map", "CCPROXY_MODEL_MAP", "gpt-4o"),
    ("model-map", "CCPROXY_MODEL_MAP", "=opus"),
    ("model-map", "CCPROXY_MODEL_MAP", "gpt-4o="),
    ("forward-sampling", "CCPROXY_FORWARD_SAMPLING", "maybe"),
    ("max-body", "MAX_BODY", "big"),
    ("max-body", "MAX_BODY", "0"),
    ("max-body", "MAX_BODY", "-5"),
    ("max-body", "MAX_BODY", "1 TB"),
    ("max-body", "MAX_BODY", "0.5"),
    ("max-body", "MAX_BODY", "9" * 400),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "0"),
    ("spares", "CCPROXY_SPARES", "-1"),
    ("compose", "CCPROXY_COMPOSE", "maybe"),
    ("remember", "CCPROXY_REMEMBER", "disk"),
    ("reuse", "CCPROXY_REUSE", "always"),
    ("queue-seconds", "CCPROXY_QUEUE_SECONDS", "0"),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "many"),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "1.5"),
    ("first-token-timeout", "CCPROXY_FIRST_TOKEN_TIMEOUT", "soon"),
    ("first-token-timeout", "CCPROXY_FIRST_TOKEN_TIMEOUT", "0"),
    ("silence-timeout", "CCPROXY_SILENCE_TIMEOUT", "5 days"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "-1s"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "inf"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "9" * 400),
    ("open-metrics", "CCPROXY_OPEN_METRICS", "wide"),
    ("log-level", "CCPROXY_LOG", "loud"),
    ("log-format", "CCPROXY_LOG_FORMAT", "xml"),
    ("demo", "CCPROXY_DEMO", "2"),
]


@pytest.mark.parametrize(("flag", "variable", "text"), WRONG)
def test_a_wrong_flag_is_named(flag: str, variable: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read({flag: text})
    assert str(caught.value).startswith(f"--{flag}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("flag", "variable", "text"), WRONG)
def test_a_wrong_variable_is_named(flag: str, variable: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(environment={**KEY, variable: text})
    assert str(caught.value).startswith(f"{variable}: ")


@pytest.mark.parametrize("flag", ["api-key", "host", "model", "port"])
def test_an_empty_flag_is_no_default(flag: str) -> None:
    with pytest.raises(SettingsError, match=f"--{flag}"):
        read({flag: ""})


@settings(max_examples=300)
@given(st.sampled_from([case[0] for case in CASES]), st.text())
@example("max-body", "9" * 400)
@example("max-processes", "9" * 5000)
@example("port", "9" * 5000)
@example("turn-timeout", "9" * 5000)
@example("port", "²")
@example("port", "٣")
@example("max-body", "1\u212a")
def test_any_text_is_taken_or_named_in_one_error(flag: str, text: str) -> None:
    found: Settings | SettingsError
    try:
        found = read({flag: text})
    except SettingsError as error:
        found = error
    assert isinstance(found, Settings) or f"--{flag}" in str(found)


def test_a_wrong_key_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        read({"api-key": "my secret key"})
    assert "secret" not in str(caught.value)


# Quantities.


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1", 1),
        ("500000", 500_000),
        ("10b", 10),
        ("10k", 10_000),
        ("10kB", 10_000),
        ("10KiB", 10_240),
        ("1M", 10**6),
        ("1MB", 10**6),
        ("1 MiB", 2**20),
        ("0.5MiB", 2**19),
        ("1g", 10**9),
        ("2GB", 2 * 10**9),
        ("1GiB", 2**30),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert read({"max-body": text}).max_body_bytes == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("1.5 s", 1.5),
        ("2m", 120.0),
        ("2min", 120.0),
        ("0.5h", 1800.0),
        ("1H", 3600.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert read({"turn-timeout": text}).turn_seconds == seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", True), ("TRUE", True), ("yes", True), ("on", True)),
        *(("0", False), ("False", False), ("no", False), ("off", False)),
    ],
)
def test_switches(text: str, value: bool) -> None:
    assert read(environment={**KEY, "CCPROXY_DEMO": text}).demo is value


# Keys.


def test_without_a_key_it_is_told_how_to_set_one() -> None:
    with pytest.raises(SettingsError, match=r"--api-key: .*PROXY_API_KEY.*--demo"):
        read(environment={})


def test_the_demo_has_a_key_of_its_own() -> None:
    assert read({"demo": "1"}, {}).api_keys == ("demo",)


def test_a_key_of_the_users_opens_the_demo() -> None:
    assert read({"demo": "1"}).api_keys == ("k",)


def test_a_key_file_has_a_key_in_each_line() -> None:
    taken = read({"api-key-file": "keys"}, {}, {"keys": "\none\n\n  two \r\nthree"})
    assert taken.api_keys == ("one", "two", "three")


def test_a_key_file_can_be_named_by_a_variable() -> None:
    taken = read({}, {"PROXY_API_KEY_FILE": "keys"}, {"keys": "one\n"})
    assert taken.api_keys == ("one",)


def test_a_key_file_adds_to_a_key() -> None:
    taken = read({"api-key-file": "keys"}, KEY, {"keys": "one\n"})
    assert taken.api_keys == ("k", "one")


def test_a_missing_key_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"--api-key-file: .*nowhere/keys"):
        read({"api-key-file": "nowhere/keys"})


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_key_file_without_a_key_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--api-key-file: .*holds no key"):
        read({"api-key-file": "keys"}, KEY, {"keys": text})


@pytest.mark.parametrize("text", ["two words", "schlüssel", "good\nb\u200bad"])
def test_a_wrong_key_in_a_file_is_an_error_that_keeps_it_secret(text: str) -> None:
    with pytest.raises(SettingsError, match="--api-key-file: a key in keys") as caught:
        read({"api-key-file": "keys"}, KEY, {"keys": text})
    assert not any(word in str(caught.value) for word in (text, "good", "schl"))


def unreadable(path: Path) -> str:
    raise PermissionError(13, "Permission denied", str(path))


def not_text(path: Path) -> str:
    return b"\xff".decode()


@pytest.mark.parametrize("read_text", [unreadable, not_text])
def test_a_key_file_that_cannot_be_read_is_named(
    read_text: Callable[[Path], str],
) -> None:
    with pytest.raises(SettingsError, match="--api-key-file: cannot read keys"):
        read_settings({"api-key-file": ["keys"]}, {}, read_text)


def test_a_key_file_is_read_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("from-disk\n")
    assert read_settings({"api-key-file": [str(path)]}, {}).api_keys == ("from-disk",)


def test_keys_are_no_part_of_what_is_printed() -> None:
    taken = read({"api-key-file": "keys"}, {}, {"keys": "hush-hush\n"})
    assert "hush-hush" not in repr(taken)
    assert "hush-hush" not in str(taken)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_what_holds_a_password_is_secret(option: Option) -> None:
    assert option.secret is (option.name in ("api-key", "database-url"))


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, None),
        ({"HOME": "/h"}, Path("/h/.local/state/ccproxy")),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, Path("/s/ccproxy")),
        ({"HOME": "/h", "XDG_STATE_HOME": "s"}, Path("/h/.local/state/ccproxy")),
        ({"HOME": "/h", "CCPROXY_DEMO": "1"}, None),
        ({"CCPROXY_DEMO": "1", "CCPROXY_STATE_DIR": "/s"}, Path("/s")),
    ],
)
def test_state_is_where_the_desktop_has_it(
    environment: dict[str, str], path: Path | None
) -> None:
    taken = read_settings({}, {"PROXY_API_KEY": "k", **environment})
    assert taken.state_dir == path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("database-url", "mysql://h/d"),
        ("database-url", "h/d"),
        ("keep-days", "0"),
        ("keep-days", "nan"),
        ("keep-days", "1e3"),
        ("keep-size", "none"),
    ],
)
def test_storage_that_cannot_be_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"--{name}"):
        read_settings({name: [text]}, {"PROXY_API_KEY": "k"})


def test_brackets_around_an_address_are_for_urls() -> None:
    assert read({"host": "[::1]"}).listen == read({"host": "::1"}).listen


def test_a_key_file_may_begin_with_a_byte_order_mark() -> None:
    settings = read({"api-key-file": "f"}, {}, {"f": "\ufefffirst\nsecond\n"})
    assert settings.api_keys == ("first", "second")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, []),
        ({"reuse": "rewind"}, ["--reuse"]),
        ({"max_suspended": 4}, ["--max-suspended"]),
        ({"suspended_seconds": 1.0}, ["--suspended-timeout"]),
        ({"max_suspended": 4, "agent_tools": ("Read",)}, []),
        ({"reuse": "off", "agent_tools": ("Read",)}, ["--reuse"]),
    ],
)
def test_what_was_given_in_vain_is_named(
    given: dict[str, Any], named: list[str]
) -> None:
    told = without_effect(Settings(api_keys=("k",), **given))
    assert [line.partition(":")[0] for line in told] == named
