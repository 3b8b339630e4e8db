"""What the files of a service say: arguments, variables, paths."""

import plistlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.cli.service import launchd_agent, systemd_unit
from ccproxy.cli.service.definition import Places, ServiceDefinition, define
from ccproxy.cli.service.launchd import Launchd
from ccproxy.cli.service.steps import AwaitFailure
from ccproxy.config.settings import Settings, SettingsError

PLACES = Places(key=Path("/home/me/a key"), environment=Path("/home/me/env%"))
# What a file of a service can hold at all.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=[*map(chr, range(32)), "\x7f"])
)


def defined(**flags: Sequence[str]) -> ServiceDefinition:
    given = {name.replace("_", "-"): texts for name, texts in flags.items()}
    settings = Settings(api_keys=("k",), drain_timeout=12.5)
    return define(Path("/opt/c c/ccproxy"), given, settings, PLACES, "/usr/bin:/bin")


def with_arguments(
    arguments: Sequence[str], variables: Mapping[str, str]
) -> ServiceDefinition:
    return ServiceDefinition(
        program=Path("/bin/ccproxy"),
        arguments=arguments,
        variables=variables,
        places=PLACES,
        stop_seconds=60,
    )


def test_flags_become_arguments_as_they_were_typed() -> None:
    service = defined(
        port=["1", "2"], model_map=["a=b", "*=opus"], demo=["1"], keep_days=["3"]
    )
    assert service.arguments == (
        *("--port=2", "--model-map=a=b", "--model-map=*=opus", "--demo"),
        "--keep-days=3",
    )
    assert service.stop_seconds == 43


def test_keys_and_other_secrets_are_no_arguments() -> None:
    url = "postgresql://u:p%40@h/d"
    service = defined(api_key=["secret"], api_key_file=["f"], database_url=[url])
    assert service.arguments == ()
    assert service.variables["CCPROXY_DATABASE_URL"] == url
    assert "secret" not in systemd_unit.unit_text(service)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service = defined(state_dir=["../s"], claude_bin=["bin/claude"])
    assert service.arguments == (
        f"--state-dir={tmp_path.parent}/s",
        f"--claude-bin={tmp_path}/bin/claude",
    )
    assert defined(claude_bin=["claude"]).arguments == ("--claude-bin=claude",)


@pytest.mark.parametrize(
    "text",
    ["unix:sock", "unix:address=sock", "ssl:1:privateKey=k.pem", "ssl:1:certKey=k"],
)
def test_relative_path_in_an_endpoint_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write an absolute path"):
        defined(listen=[text])


@pytest.mark.parametrize(
    "text", ["unix:/s", "unix:address=/s", "ssl:1:privateKey=/k:certKey=/c", "tcp:1"]
)
def test_absolute_path_in_an_endpoint_is_accepted(text: str) -> None:
    assert defined(listen=[text]).arguments == (f"--listen={text}",)


@pytest.mark.parametrize("text", ["\udcff", "a\nExecStartPre=/bin/evil", "a\rb", "\0"])
def test_text_that_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="control character, or is not UTF-8"):
        defined(model=[text])


@given(st.lists(TEXTS))
def test_arguments_of_a_unit_are_found_again(texts: list[str]) -> None:
    arguments = tuple(f"--model={text}" for text in texts)
    text = systemd_unit.unit_text(with_arguments(arguments, {}))
    assert systemd_unit.arguments_of(text) == arguments
    assert systemd_unit.key_file_of(text) == PLACES.key
    # No text adds a line, and so a setting.
    assert len(text.split("\n")) == len(systemd_unit.unit_text(defined()).split("\n"))


def test_systemd_s_own_characters_are_escaped() -> None:
    service = with_arguments(["--a=%h $HOME", '--b="x"\\', "--c=1"], {"V": "100%$"})
    lines = systemd_unit.unit_text(service).splitlines()
    assert (
        r'ExecStart=/bin/ccproxy "--a=%%h $$HOME" "--b=\"x\"\\" --c=1 '
        "--api-key-file=%d/key"
    ) in lines
    assert 'Environment="V=100%%$"' in lines
    assert "LoadCredential=key:/home/me/a key" in lines
    assert "EnvironmentFile=-/home/me/env%%" in lines


def test_installation_waits_as_long_as_launchd_for_the_former_agent(
    tmp_path: Path,
) -> None:
    agent = Launchd({"HOME": str(tmp_path)})

    def limit_seconds() -> float:
        [waiting] = [s for s in agent.stop_steps() if isinstance(s, AwaitFailure)]
        return waiting.seconds

    without = limit_seconds()
    agent.path.parent.mkdir(parents=True)
    agent.path.write_text("no property list")
    assert limit_seconds() == without
    slow = evolve(with_arguments((), {}), stop_seconds=600)
    agent.path.write_text(agent.text(slow))
    assert limit_seconds() > 600


def test_property_list_of_an_agent() -> None:
    service = defined(port=["2"])
    text = launchd_agent.agent_text(service, Path("/log"))
    agent = plistlib.loads(text.encode())
    *shell, environment, program, port, key = agent["ProgramArguments"]
    assert shell[:2] == ["/bin/sh", "-c"]
    assert (environment, program) == ("/home/me/env%", "/opt/c c/ccproxy")
    assert (port, key) == ("--port=2", "--api-key-file=/home/me/a key")
    assert agent["EnvironmentVariables"] == {"PATH": "/usr/bin:/bin"}
    assert (agent["StandardOutPath"], agent["ExitTimeOut"]) == ("/log", 43)
    assert launchd_agent.arguments_of(text) == ("--port=2",)
    assert launchd_agent.key_file_of(text) == PLACES.key


def test_agent_s_shell_reads_the_file_with_variables(tmp_path: Path) -> None:

    (tmp_path / "env").write_text("A='1 2'\n")
    script = plistlib.loads(launchd_agent.agent_text(defined(), Path("/log")).encode())[
        "ProgramArguments"
    ][2]
    command = ("/bin/sh", "-c", script)
    for name, wanted in (("env", "1 2\n"), ("none", "\n")):
        done = subprocess.run(
            [*command, str(tmp_path / name), "/bin/sh", "-c", 'echo "$A"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == wanted


@given(st.lists(TEXTS))
def test_arguments_of_an_agent_are_found_again(texts: list[str]) -> None:
    arguments = tuple(f"--model={text}" for text in texts)
    text = launchd_agent.agent_text(with_arguments(arguments, {}), Path("/log"))
    assert launchd_agent.arguments_of(text) == arguments
