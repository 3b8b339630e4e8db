"""Containerfile and compose.yaml follow the rules of docs/install.md; reads text only.

The workflow ``container.yml`` builds the image and runs it.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import PurePosixPath

from ccproxy.cli.commands import COMMANDS
from ccproxy.config.settings import OPTIONS, Settings
from tests.support.docs import ROOT

_VARIABLES = {option.variable for option in OPTIONS}
_LOGINS = {"CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"}
_STATE = PurePosixPath("/var/lib/ccproxy")
_WORKFLOW = (ROOT / ".github" / "workflows" / "container.yml").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


def instructions() -> Sequence[tuple[str, str]]:
    """Each instruction of the Containerfile, with its words."""
    text = (ROOT / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, words) for name, words in found]


def image() -> Sequence[tuple[str, str]]:
    """The instructions of the last stage, whose result is the image."""
    every = instructions()
    last = max(number for number, (name, _) in enumerate(every) if name == "FROM")
    return every[last + 1 :]


def only(name: str) -> str:
    """The words of an instruction that the image has once."""
    [words] = [words for found, words in image() if found == name]
    return words


def environment() -> dict[str, str]:
    """The variables of the image."""
    return dict(re.findall(r"(\w+)=(\S+)", only("ENV")))


def test_no_command_needs_a_shell() -> None:
    commands = [w for n, w in instructions() if n in {"RUN", "ENTRYPOINT", "CMD"}]
    commands.append(only("HEALTHCHECK").partition("CMD ")[2])
    assert len(commands) > 5
    for words in commands:
        command = json.loads(words)
        assert all(isinstance(word, str) for word in command)
        assert PurePosixPath(command[0]).name not in {"sh", "bash", "env"}


def test_user_is_not_root_and_owns_the_volume_with_home_and_state() -> None:
    user = only("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "names need /etc/passwd"
    assert PurePosixPath(only("VOLUME")) == _STATE
    assert PurePosixPath(environment()["HOME"]) == _STATE
    assert _STATE in PurePosixPath(environment()["CCPROXY_STATE_DIR"]).parents
    copies = [words for name, words in image() if name == "COPY"]
    assert any(f"--chown={user} " in x and x.endswith(f" {_STATE}") for x in copies)


def test_variables_are_settings_and_the_port_is_the_exposed_one() -> None:
    has = environment()
    ours = {name for name in has if not name.startswith("PYTHON")} - {"PATH", "HOME"}
    assert ours == {"HOST", "PORT", "CCPROXY_STATE_DIR"} <= _VARIABLES
    assert only("EXPOSE") == has["PORT"]
    folder = json.loads(only("ENTRYPOINT"))
    assert folder == ["ccproxy"]
    assert has["PATH"].split(":")[0] == "/opt/ccproxy/bin"


def test_health_check_is_a_command_of_ours() -> None:
    program, command = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
    assert program == "ccproxy"
    assert command == "ready"
    assert command in COMMANDS


def test_image_has_no_pip_and_no_source() -> None:
    copies = [words.split() for name, words in image() if name == "COPY"]
    assert {words[0] for words in copies} == {"--from=build"}
    assert not any(name == "RUN" for name, _ in image())
    [install] = [
        words for name, words in instructions() if ' "install", "--no' in words
    ]
    command = json.loads(install)
    assert command[0].startswith("/pip/")
    extras = command[-1].removeprefix(".[").removesuffix("]").split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])


def test_copied_files_exist_and_are_not_ignored() -> None:
    """Every file that the build backend reads, and nothing else of the clone."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copies = [words.split() for name, words in instructions() if name == "COPY"]
    sources = {w for words in copies for w in words[:-1] if "--from" not in words[0]}
    assert sources == let_in
    assert all((ROOT / name).exists() for name in sources)
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    needed = [
        *wheel["packages"],
        *wheel.get("shared-data", {}),
        hatch["version"]["path"],
    ]
    for path in needed:
        assert path.split("/")[0] in sources, path


def test_compose_passes_settings_and_logins() -> None:
    block = COMPOSE.partition("    environment:\n")[2].partition("    volumes:\n")[0]
    named = set(re.findall(r"^      (\w+):", block, re.MULTILINE))
    assert {"PROXY_API_KEY", "CCPROXY_DATABASE_URL"} <= named
    assert named <= _VARIABLES | _LOGINS
    assert named >= _LOGINS
    for name in named - {"CCPROXY_ALLOWED_HOSTS"}:
        assert f"      {name}: ${{{name}:" in block


def test_compose_is_no_more_open_than_the_image() -> None:
    port = environment()["PORT"]
    assert f'- "127.0.0.1:${{PORT:-8080}}:{port}"' in COMPOSE
    assert f"- state:{_STATE}" in COMPOSE
    for line in ("read_only: true", "- ALL", "- no-new-privileges:true", "init: true"):
        assert f" {line}\n" in COMPOSE
    assert "    profiles: [postgres]\n" in COMPOSE
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert grace
    assert int(grace[1]) >= Settings(api_keys=()).drain_timeout + 15


def test_workflow_builds_this_file_and_drops_privileges() -> None:
    assert "--file Containerfile" in _WORKFLOW
    for flag in ("--read-only", "--cap-drop ALL", "no-new-privileges"):
        assert flag in _WORKFLOW
    used = re.findall(r"--env (\w+)=", _WORKFLOW)
    assert used
    assert set(used) <= _VARIABLES
