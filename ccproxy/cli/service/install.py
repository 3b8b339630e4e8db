"""Plans the installation of the service: checks everything, and changes nothing."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from ccproxy.claude.process.binary import check_version, find_claude, read_version
from ccproxy.claude.process.launch import child_environment
from ccproxy.cli.service.definition import MARK, Places, define
from ccproxy.cli.service.key import key_steps
from ccproxy.cli.service.manager import ServiceManager, config_home
from ccproxy.cli.service.steps import Step, WriteFile
from ccproxy.config.reading import DEMO_KEY
from ccproxy.config.settings import OPTIONS, Settings, SettingsError
from ccproxy.core.errors import ClaudeUnavailable
from ccproxy.server.service import make_service
from ccproxy.web.access import SHORTEST_KEY, check_keys
from ccproxy.web.endpoints import is_inherited

# Every session has these variables, so the service has them, too.
_SESSION = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        "DBUS_SESSION_BUS_ADDRESS",
    )
)
_SESSION_PREFIXES = ("LC_", "XDG_")
# A directory in the path of each program that `uvx` runs. uv may delete it at any time.
_CACHE = "archive-v0"
# Takes the place of the new key while the settings are checked.
_SOME_KEY = "k" * SHORTEST_KEY


class NotInstalled(Exception):
    """The service cannot be installed; the message says what to do."""


@frozen
class Installation:
    """What the installation will do.

    Attributes:
        steps: the changes, in order; empty: the service already runs like this.
        notes: what the operator should know.
    """

    manager: ServiceManager
    key: Path
    steps: Sequence[Step]
    notes: Sequence[str]

    @classmethod
    def plan(
        cls,
        manager: ServiceManager,
        settings: Settings,
        given: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        argv0: str,
        *,
        is_forced: bool,
    ) -> "Installation":
        """Check the settings as the server does, and plan the steps.

        Args:
            manager: the user's service manager.
            settings: the settings that the flags make.
            given: the values of each flag on the command line.
            environment: the variables of the shell.
            argv0: the name by which this program was started.
            is_forced: whether files that this command has not written are replaced.

        Raises:
            SettingsError: a setting is wrong.
            NotInstalled: the service cannot be installed for another reason.
        """
        folder = config_home(environment) / "ccproxy"
        places = Places(key=folder / "key", environment=folder / "environment")
        keys = _own_keys(settings)
        steps: list[Step] = []
        if settings.api_key_file is not None:
            places = evolve(places, key=settings.api_key_file.absolute())
            if "api-key" in given:
                raise SettingsError("--api-key: omit it, or omit --api-key-file")
        else:
            steps += key_steps(places.key, keys, is_forced=is_forced)
        _check_server(settings, keys, environment)
        _check_claude(settings, environment)
        service = define(
            _program(argv0, environment),
            _with_state_dir(given, settings, environment),
            settings,
            places,
            environment.get("PATH", ""),
        )
        text = manager.text(service)
        if _must_write(manager.path, text, is_forced=is_forced):
            steps.append(WriteFile(manager.path, text, "the service"))
        if steps or not manager.is_running():
            steps += manager.start_steps()
        return cls(
            manager=manager,
            key=places.key,
            steps=steps,
            notes=(
                *_missing_variables(settings, environment, places.environment),
                *manager.hints(),
            ),
        )

    def report(self) -> Sequence[str]:
        """Describe the service after the steps, for the operator."""
        unchanged = "the service already runs with these settings"
        did = "the service was started" if self.steps else unchanged
        return (
            f"{did}; it starts when you log in. `ccproxy service status` shows its "
            f"address, `{self.manager.log_command}` its log",
            f"the key for your clients is in {self.key}",
        )


def _own_keys(settings: Settings) -> Sequence[str]:
    """The operator's keys, without the key of a demo."""
    keys = settings.api_keys
    return () if settings.demo and keys == (DEMO_KEY,) else keys


def _check_server(
    settings: Settings, keys: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Check the settings by making the server, which opens nothing yet."""
    check_keys(settings.endpoints, keys)
    # systemd passes its sockets to the service only.
    listen = tuple(text for text in settings.listen if not is_inherited(text))
    checked = evolve(settings, listen=listen, api_keys=tuple(keys) or (_SOME_KEY,))
    make_service(checked, environment=environment)


def _check_claude(settings: Settings, environment: Mapping[str, str]) -> None:
    try:
        binary = find_claude(settings.claude_bin, environment.get("PATH"))
        check_version(read_version(binary))
    except ClaudeUnavailable as error:
        raise NotInstalled(str(error)) from None


def _program(argv0: str, environment: Mapping[str, str]) -> Path:
    """The path of this program; links are kept, so the path survives an update."""
    found = shutil.which(argv0, path=environment.get("PATH"))
    if found is None:
        raise NotInstalled(
            f"the program {argv0} is not on PATH; start it as `ccproxy`, or by its path"
        )
    program = Path(found).absolute()
    if _CACHE in program.resolve().parts:
        raise NotInstalled(
            f"{program} is in uv's cache, which uv may delete; install ccproxy first: "
            "uv tool install 'ccproxy-server[claude]'"
        )
    return program


def _with_state_dir(
    given: Mapping[str, Sequence[str]],
    settings: Settings,
    environment: Mapping[str, str],
) -> Mapping[str, Sequence[str]]:
    """The flags; with ``--state-dir`` if a variable of the shell sets the directory."""
    moved = environment.get("XDG_STATE_HOME") and settings.state_dir is not None
    if not moved or "state-dir" in given:
        return given
    return {**given, "state-dir": [str(settings.state_dir)]}


def _must_write(path: Path, text: str, *, is_forced: bool) -> bool:
    """Whether the file of the service must be written."""
    try:
        present = path.read_text(errors="replace")
    except FileNotFoundError:
        return True
    except OSError as error:
        raise NotInstalled(f"cannot read {path}: {error.strerror}") from None
    if present == text:
        return False
    if MARK not in present and not is_forced:
        raise NotInstalled(
            f"{path} was not written by `ccproxy service install`; replace it with "
            "--force"
        )
    return True


def _missing_variables(
    settings: Settings, environment: Mapping[str, str], file: Path
) -> Sequence[str]:
    """Variables that would change the server, but do not reach the service."""
    ours = {text.variable for option in OPTIONS for text in option.spellings}
    ours |= {entry.variable for entry in settings.passthrough}
    ours |= child_environment(environment).keys()
    used = {"PROXY_API_KEY_FILE"}
    if settings.api_key_file is None:
        used.add("PROXY_API_KEY")
    names = [
        name
        for name in sorted(ours & environment.keys())
        if environment[name]
        and name not in _SESSION | used
        and not name.startswith(_SESSION_PREFIXES)
    ]
    if not names:
        return ()
    return (
        f"the service does not get these variables of this shell: {', '.join(names)}; "
        f"put those that it needs into {file}, or use flags",
    )
