"""Every option: by flag, by variable, by default, and its errors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccproxy.config.options import Option
from ccproxy.config.parsers import PassthroughOption
from ccproxy.config.reading import read_settings, without_effect
from ccproxy.config.settings import OPTIONS, Settings, SettingsError

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


# Options: flag, variable, what is looked at, text, value, another text, its value.
CASES: list[tuple[str, str, str, str, Any, str, Any]] = [
    ("api-key", "PROXY_API_KEY", "api_keys", "a", ("a",), "b", ("b",)),
    (
        *("port", "PORT", "endpoints"),
        *("9000", ("tcp:9000:interface=127.0.0.1",)),
        *("0", ("tcp:0:interface=127.0.0.1",)),
    ),
    (
        *("host", "HOST", "endpoints"),
        *("0.0.0.0", ("tcp:8080:interface=0.0.0.0",)),
        *("localhost", ("tcp:8080:interface=localhost",)),
    ),
    (
        *("listen", "CCPROXY_LISTEN", "endpoints"),
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
    (
        *("passthrough", "CCPROXY_PASSTHROUGH", "passthrough"),
        *("/v1/audio=http://a", (PassthroughOption("audio", "http://a/audio", ""),)),
        *("audio=http://b#KEY", (PassthroughOption("audio", "http://b/audio", "KEY"),)),
    ),
    ("model", "CLAUDE_MODEL", "model", "opus", "opus", " haiku ", "haiku"),
    (
        *("claude-bin", "CLAUDE_BIN", "claude_bin"),
        *("/opt/claude", Path("/opt/claude")),
        *("claude2", Path("claude2")),
    ),
    ("max-body", "MAX_BODY", "max_body", "2MiB", 2**21, "500", 500),
]


def case(
    flag: str, text: str, value: Any, other: str, other_value: Any
) -> tuple[str, str, str, str, Any, str, Any]:
    """An option whose names follow from its field's."""
    attribute = flag.replace("-", "_")
    variable = f"CCPROXY_{attribute.upper()}"
    return flag, variable, attribute, text, value, other, other_value


CASES += [
    case("max-connections", "2", 2, "9", 9),
    case("memory-limit", "2MiB", 2**21, "500", 500),
    case("head-timeout", "9", 9.0, "2m", 120.0),
    case("body-timeout", "9", 9.0, "3m", 180.0),
    case("keep-alive-timeout", "9", 9.0, "2m", 120.0),
    case("reader-timeout", "9", 9.0, "8", 8.0),
    case("model-map", "gpt=opus", (("gpt", "opus"),), "* = haiku", (("*", "haiku"),)),
    case("agent-tools", "Read,Bash", ("Read", "Bash"), " Read ,, ", ("Read",)),
    case(
        "server-tools",
        *("web_search,web_fetch", ("web_search", "web_fetch")),
        *(" Web_Search ,, ", ("web_search",)),
    ),
    case("show-agent-tools", "1", True, "on", True),
    case("forward-sampling", "1", True, "no", False),
    case("cache-ttl", "1h", "1h", "5M", "5m"),
    case("cache-wait", "0", 0.0, "9", 9.0),
    case("forward-tool-choice", "1", True, "on", True),
    case("max-processes", "2", 2, "10", 10),
    case("spares", "0", 0, "3", 3),
    case("idle-timeout", "2m", 120.0, "9", 9.0),
    case("recycle-rss", "300MB", 300_000_000, "1GiB", 2**30),
    case("compose", "body", "body", "Native", "native"),
    case("reuse", "off", "off", "Continue", "continue"),
    case("max-queue", "0", 0, "10", 10),
    case("queue-timeout", "2m", 120.0, "9", 9.0),
    case("drain-timeout", "2m", 120.0, "9", 9.0),
    case("max-suspended", "0", 0, "10", 10),
    case("suspended-timeout", "90s", 90.0, "2m", 120.0),
    case("first-token-timeout", "90s", 90.0, "3m", 180.0),
    case("silence-timeout", "1.5", 1.5, "1h", 3600.0),
    case("turn-timeout", "5min", 300.0, "7", 7.0),
    case("state-dir", "/var/lib/c", Path("/var/lib/c"), "here", Path("here")),
    case(
        "database-url",
        *("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        *("postgresql://h/d?x=y", "postgresql+psycopg://h/d?x=y"),
    ),
    case("keep-time", "1.5d", 129_600.0, "Forever", None),
    case("keep-size", "5MB", 5_000_000, "9", 9),
    case("remember", "off", "off", "Memory", "memory"),
    case("open-metrics", "1", True, "no", False),
    case("repair-histories", "1", True, "no", False),
    case("strict", "1", True, "no", False),
    case("log-level", "debug", "debug", "WARN", "warn"),
    case("log-format", "json", "json", "Text", "text"),
    case("demo", "1", True, "off", False),
]
FILES = ["api-key-file", "mcp-config"]


def test_every_option_has_a_case_here() -> None:
    assert {option.flag for option in OPTIONS} == {*FILES, *(case[0] for case in CASES)}


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
    both = flag in (
        *("listen", "model-map", "allowed-hosts", "cors-origin", "passthrough"),
    )
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
    defaults = {
        "endpoints": ("tcp:8080:interface=127.0.0.1",),
        "model": "sonnet",
        "model_map": (),
        "claude_bin": None,
        "agent_tools": (),
        "compose": "auto",
        "max_body": 32 * 1024 * 1024,
        "memory_limit": 256 * 1024 * 1024,
        "max_processes": None,
        "spares": 1,
        "idle_timeout": 600.0,
        "recycle_rss": 600_000_000,
        "max_queue": 64,
        "queue_timeout": 60.0,
        "drain_timeout": 30.0,
        "keep_time": 30 * 86_400.0,
        "max_suspended": 4,
        "suspended_timeout": 300.0,
        "turn_timeout": 1800.0,
        "first_token_timeout": 600.0,
        "silence_timeout": 600.0,
        "demo": False,
        "log_level": "info",
        "log_format": "text",
        "forward_sampling": False,
        "max_connections": 512,
        "head_timeout": 30.0,
        "body_timeout": 120.0,
        "keep_alive_timeout": 90.0,
        "reader_timeout": 300.0,
        "keep_size": 2**30,
        "open_metrics": False,
        "remember": "store",
        "reuse": None,
        "cache_ttl": None,
        "cache_wait": 5.0,
    }
    assert {name: getattr(read(), name) for name in defaults} == defaults


def test_the_classes_defaults_are_the_options() -> None:
    assert read() == Settings(api_keys=("k",))


def test_every_field_is_an_option() -> None:
    assert {field.name for field in fields(Settings)} == {o.name for o in OPTIONS}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_every_option_has_a_variable_and_a_help(option: Option) -> None:
    assert option.variable
    assert option.help


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_names_follow_from_the_fields(option: Option) -> None:
    """Flags of several values are singular, as what one flag gives is."""
    assert option.name.removesuffix("s") == option.flag.replace("-", "_").removesuffix(
        "s"
    )


def test_no_flag_letter_or_variable_stands_for_two_options() -> None:
    spellings = [text for option in OPTIONS for text in option.spellings]
    for names in (
        [text.flag for text in spellings if text.flag],
        [text.variable for text in spellings if text.variable],
        [option.letter for option in OPTIONS if option.letter],
    ):
        assert len(names) == len(set(names))


# Former names: flag, variable, the current flag, a text, its value.
FORMER = [
    ("idle-seconds", "CCPROXY_IDLE_SECONDS", "idle-timeout", "2m", 120.0),
    ("queue-seconds", "CCPROXY_QUEUE_SECONDS", "queue-timeout", "9", 9.0),
    ("drain-seconds", "CCPROXY_DRAIN_SECONDS", "drain-timeout", "9", 9.0),
    ("keep-alive", "CCPROXY_KEEP_ALIVE", "keep-alive-timeout", "9s", 9.0),
    ("keep-days", "CCPROXY_KEEP_DAYS", "keep-time", "1.5", 129_600.0),
    ("keep-days", "CCPROXY_KEEP_DAYS", "keep-time", "Forever", None),
    ("max-bodies", "CCPROXY_MAX_BODIES", "memory-limit", "2MiB", 2**21),
    ("", "CCPROXY_LOG", "log-level", "debug", "debug"),
]


def test_every_former_name_has_a_case_here() -> None:
    assert {former[:3] for former in FORMER} == {
        (old.flag, old.variable, option.flag)
        for option in OPTIONS
        for old in option.old
    }


@pytest.mark.parametrize(("flag", "variable", "current", "text", "value"), FORMER)
def test_a_former_name_still_works(
    flag: str, variable: str, current: str, text: str, value: Any
) -> None:
    attribute = current.replace("-", "_")
    if flag:
        assert getattr(read({flag: text}), attribute) == value
    assert getattr(read(environment={**KEY, variable: text}), attribute) == value


def test_a_current_name_wins_over_a_former_one() -> None:
    assert read({"idle-timeout": "1", "idle-seconds": "2"}).idle_timeout == 1
    variables = {"CCPROXY_LOG": "debug", "CCPROXY_LOG_LEVEL": "error"}
    assert read(environment={**KEY, **variables}).log_level == "error"


def test_a_former_flag_wins_over_a_variable() -> None:
    taken = read({"idle-seconds": "2"}, {**KEY, "CCPROXY_IDLE_TIMEOUT": "1"})
    assert taken.idle_timeout == 2


def test_a_wrong_value_is_told_by_the_name_that_was_given() -> None:
    with pytest.raises(SettingsError, match=r"^--keep-days: 'x' is not a number of"):
        read({"keep-days": "x"})
    with pytest.raises(SettingsError, match=r"^CCPROXY_LOG: 'loud' is none of"):
        read(environment={**KEY, "CCPROXY_LOG": "loud"})


def test_a_repeatable_variable_is_cut_at_commas() -> None:
    environment = {**KEY, "CCPROXY_MODEL_MAP": "a=opus,b=haiku"}
    assert read(environment=environment).model_map == (("a", "opus"), ("b", "haiku"))


def test_other_variables_are_not_looked_at() -> None:
    environment = {**KEY, "": "x", "MODEL": "opus", "CCPROXY_PORT": "1"}
    assert read(environment=environment) == read()


def test_listen_wins_over_host_and_port() -> None:
    taken = read({"listen": "unix:a", "port": "1", "host": "b"})
    assert taken.endpoints == ("unix:a",)


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("::1", r"tcp:8080:interface=\:\:1"),
        ("::", r"tcp:8080:interface=\:\:"),
        ("fe80::1", r"tcp:8080:interface=fe80\:\:1"),
    ],
)
def test_an_ipv6_host_is_escaped_for_twisted(host: str, endpoint: str) -> None:
    assert read({"host": host}).endpoints == (endpoint,)


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
    ("cache-ttl", "CCPROXY_CACHE_TTL", "24h"),
    ("cache-wait", "CCPROXY_CACHE_WAIT", "soon"),
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
    ("queue-timeout", "CCPROXY_QUEUE_TIMEOUT", "0"),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "many"),
    ("max-processes", "CCPROXY_MAX_PROCESSES", "1.5"),
    ("first-token-timeout", "CCPROXY_FIRST_TOKEN_TIMEOUT", "soon"),
    ("first-token-timeout", "CCPROXY_FIRST_TOKEN_TIMEOUT", "0"),
    ("silence-timeout", "CCPROXY_SILENCE_TIMEOUT", "5 weeks"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "-1s"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "inf"),
    ("turn-timeout", "CCPROXY_TURN_TIMEOUT", "9" * 400),
    ("open-metrics", "CCPROXY_OPEN_METRICS", "wide"),
    ("log-level", "CCPROXY_LOG_LEVEL", "loud"),
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


@settings(max_examples=150)
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
    assert read({"max-body": text}).max_body == size_bytes


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
        ("1d", 86_400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert read({"turn-timeout": text}).turn_timeout == seconds


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


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_what_holds_a_password_is_secret(option: Option) -> None:
    assert option.is_secret is (option.flag in ("api-key", "database-url"))


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
        ("keep-time", "30"),
        ("keep-time", "0d"),
        ("keep-time", "1000000d"),
        ("keep-size", "none"),
    ],
)
def test_storage_that_cannot_be_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"--{name}"):
        read_settings({name: [text]}, {"PROXY_API_KEY": "k"})


def test_brackets_around_an_address_are_for_urls() -> None:
    assert read({"host": "[::1]"}).endpoints == read({"host": "::1"}).endpoints


def test_a_key_file_may_begin_with_a_byte_order_mark() -> None:
    settings = read({"api-key-file": "f"}, {}, {"f": "\ufefffirst\nsecond\n"})
    assert settings.api_keys == ("first", "second")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, []),
        ({"reuse": "rewind"}, ["--reuse"]),
        ({"max_suspended": 5}, ["--max-suspended"]),
        ({"suspended_timeout": 1.0}, ["--suspended-timeout"]),
        ({"max_suspended": 5, "agent_tools": ("Read",)}, []),
        ({"reuse": "off", "agent_tools": ("Read",)}, ["--reuse"]),
        ({"server_tools": ("web_search",)}, []),
        ({"server_tools": ("web_fetch",)}, ["--server-tools"]),
        ({"server_tools": ("web_search",), "compose": "native"}, ["--server-tools"]),
    ],
)
def test_what_was_given_in_vain_is_named(
    given: dict[str, Any], named: list[str]
) -> None:
    told = without_effect(Settings(api_keys=("k",), **given))
    assert [line.partition(":")[0] for line in told] == named


@pytest.mark.parametrize(
    ("former", "given", "name", "value"),
    [
        ("idle_seconds", 5.0, "idle_timeout", 5.0),
        ("drain_seconds", 0.5, "drain_timeout", 0.5),
        ("max_body_bytes", 1024, "max_body", 1024),
        ("recycle_bytes", 2**20, "recycle_rss", 2**20),
        ("keep_bytes", None, "keep_size", None),
        ("keep_days", 2.0, "keep_time", 172_800.0),
        ("keep_days", None, "keep_time", None),
    ],
)
def test_a_former_field_of_settings_is_taken_with_a_warning(
    former: str, given: object, name: str, value: object
) -> None:
    fields: dict[str, Any] = {"api_keys": ("k",), former: given}
    with pytest.warns(DeprecationWarning, match=f"{former} is {name} now"):
        made = Settings(**fields)
    assert getattr(made, name) == value


def test_a_field_is_not_given_under_both_of_its_names() -> None:
    fields: dict[str, Any] = {"idle_seconds": 1.0, "idle_timeout": 2.0}
    with pytest.raises(TypeError, match="former name of idle_timeout"):
        Settings(api_keys=("k",), **fields)
