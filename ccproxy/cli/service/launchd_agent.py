"""The property list of a launchd agent. Pure.

launchd cannot read variables from a file. A shell reads the file, and then replaces
itself with ccproxy.

Source: launchd.plist(5).
"""

import plistlib
from collections.abc import Sequence
from pathlib import Path
from xml.parsers.expat import ExpatError

from ccproxy.cli.service.definition import MARK, ServiceDefinition

LABEL = "local.ccproxy"
# The arguments of the shell: this script, the file with variables, the command.
_SCRIPT = 'set -a; [ ! -f "$0" ] || . "$0"; exec "$@"'
_SHELL = ("/bin/sh", "-c", _SCRIPT)
_KEY_FLAG = "--api-key-file="
# Time between two starts of an agent that fails.
_THROTTLE_SECONDS = 10


def agent_text(service: ServiceDefinition, log: Path) -> str:
    """The property list of a service that writes its log to a file."""
    document = {
        "Label": LABEL,
        "ProgramArguments": [
            *(*_SHELL, str(service.places.environment), str(service.program)),
            *(*service.arguments, f"{_KEY_FLAG}{service.places.key}"),
        ],
        "EnvironmentVariables": dict(service.variables),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _THROTTLE_SECONDS,
        "ExitTimeOut": service.stop_seconds,
        "Umask": 0o077,
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    head, line, rest = (
        plistlib.dumps(document, sort_keys=False).decode().partition("<plist")
    )
    return f"{head}<!-- {MARK}, which overwrites this file. -->\n{line}{rest}"


def arguments_of(text: str) -> Sequence[str]:
    """The arguments in a property list that `agent_text` has made."""
    words = plistlib.loads(text.encode())["ProgramArguments"]
    return tuple(word for word in words[len(_SHELL) + 2 :] if not _is_key(word))


def key_file_of(text: str) -> Path | None:
    """The file with the key in a property list that `agent_text` has made."""
    words = plistlib.loads(text.encode())["ProgramArguments"]
    return next((Path(w.removeprefix(_KEY_FLAG)) for w in words if _is_key(w)), None)


def exit_timeout_of(text: str) -> float:
    """The time in seconds that launchd gives the agent to stop.

    Raises:
        ValueError: the text is no property list, or has no such time.
    """
    try:
        return float(plistlib.loads(text.encode())["ExitTimeOut"])
    except (plistlib.InvalidFileException, ExpatError, KeyError, TypeError) as error:
        raise ValueError(f"no ExitTimeOut: {error!r}") from None


def _is_key(word: str) -> bool:
    return word.startswith(_KEY_FLAG)
