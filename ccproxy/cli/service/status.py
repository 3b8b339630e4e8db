"""The state of an installed service, and the files that its removal keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen
from twisted.python import usage

from ccproxy.cli.readiness import address_of_url, ask
from ccproxy.cli.service.definition import MARK
from ccproxy.cli.service.key import first_key
from ccproxy.cli.service.manager import ServiceManager, config_home
from ccproxy.config.flags import SettingsOptions
from ccproxy.config.reading import read_settings
from ccproxy.config.settings import Settings, SettingsError


@frozen
class ServiceStatus:
    """What `ccproxy service status` shows.

    Attributes:
        lines: name and value of each line.
        is_ready: whether the service runs and its server is ready.
    """

    lines: Sequence[tuple[str, str]]
    is_ready: bool


def status_of(manager: ServiceManager, environment: Mapping[str, str]) -> ServiceStatus:
    """Ask the service manager and the server."""
    try:
        text = manager.path.read_text(errors="replace")
    except FileNotFoundError:
        words = f"not installed: {manager.path} does not exist"
        return ServiceStatus(lines=(("service", words),), is_ready=False)
    except OSError as error:
        words = f"cannot read {manager.path}: {error.strerror}"
        return ServiceStatus(lines=(("service", words),), is_ready=False)
    note = "" if MARK in text else ", not written by `ccproxy service install`"
    state = manager.state()
    lines = [("service", f"{manager.path} ({manager.name}{note})"), *state.lines]
    if not state.is_running:
        lines.append(("log", manager.log_command))
        return ServiceStatus(lines=lines, is_ready=False)
    settings = _settings(manager, text, environment)
    url = state.url or (_url(settings) if settings else "")
    if not url:
        lines.append(("address", "unknown; the log has it"))
        return ServiceStatus(lines=lines, is_ready=False)
    key = first_key(_key_file(manager, text, environment))
    answer = ask(address_of_url(url), key)
    lines.append(("address", url))
    verdict = "yes" if answer.is_ready else "no"
    lines.append(("ready", f"{verdict}: {answer.message}"))
    return ServiceStatus(lines=lines, is_ready=answer.is_ready)


def left_behind(
    manager: ServiceManager, text: str, environment: Mapping[str, str]
) -> Sequence[tuple[Path, str]]:
    """The files that stay when the service is removed, and what they are."""
    folder = config_home(environment) / "ccproxy"
    found = [
        (_key_file(manager, text, environment), "the API key"),
        (folder / "environment", "your variables for the service"),
    ]
    settings = _settings(manager, text, environment)
    if settings is not None and settings.state_dir is not None:
        found.append((settings.state_dir, "stored data"))
    return [(path, what) for path, what in found if path.exists()]


def _key_file(
    manager: ServiceManager, text: str, environment: Mapping[str, str]
) -> Path:
    return manager.key_file(text) or config_home(environment) / "ccproxy" / "key"


def _settings(
    manager: ServiceManager, text: str, environment: Mapping[str, str]
) -> Settings | None:
    """The settings in the service's arguments; None: the arguments are invalid."""
    options = SettingsOptions()
    kept = {"HOME": environment.get("HOME", "")}
    try:
        options.parseOptions(list(manager.arguments(text)))
        return read_settings(options.given, kept, needs_key=False)
    except (usage.UsageError, SettingsError, ValueError, KeyError):
        return None


def _url(settings: Settings) -> str:
    """The base URL by the settings; empty: the settings do not determine the URL."""
    if settings.listen or settings.port == 0:
        return ""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}/v1"
