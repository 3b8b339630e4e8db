"""The unit file of a systemd user service. Pure.

`contrib/systemd/ccproxy.service` has the same settings, with comments that explain
them. Source of the syntax: systemd.syntax(7) and systemd.service(5).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ccproxy.cli.service.definition import DESCRIPTION, MARK, ServiceDefinition

UNIT = "ccproxy.service"
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./*#?~-]+")
_SPECIAL = re.compile(r'["\\]')
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_ESCAPED = re.compile(r"\\(.)")
_KEY = re.compile(r"^LoadCredential=key:(.*)$", re.MULTILINE)
_COMMAND = re.compile(r"^ExecStart=(.*)$", re.MULTILINE)

# systemd replaces %d by the directory of the service's credentials.
_KEY_WORD = "--api-key-file=%d/key"

_TEMPLATE = """\
# {mark}, which overwrites this file.
# Change the service with `systemctl --user edit {unit}`.
[Unit]
Description={description}
StartLimitIntervalSec=5min
StartLimitBurst=5

[Service]
Type=notify
ExecStart={command} {key_word}
LoadCredential=key:{key}
EnvironmentFile=-{environment}
{variables}

Restart=on-failure
RestartSec=2s

KillMode=mixed
TimeoutStopSec={stop_seconds}s

NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=default.target
"""


def unit_text(service: ServiceDefinition) -> str:
    """The unit file of a service."""
    words = [_command_word(word) for word in (str(service.program), *service.arguments)]
    variables = [
        f"Environment={_quoted(f'{name}={text}')}"
        for name, text in service.variables.items()
    ]
    return _TEMPLATE.format(
        mark=MARK,
        unit=UNIT,
        description=DESCRIPTION,
        command=" ".join(words),
        key_word=_KEY_WORD,
        key=_literal(str(service.places.key)),
        environment=_literal(str(service.places.environment)),
        variables="\n".join(variables),
        stop_seconds=service.stop_seconds,
    )


def arguments_of(text: str) -> Sequence[str]:
    """The arguments in a unit file that `unit_text` has made."""
    command = _COMMAND.search(text)
    words = _WORD.findall(command[1]) if command else []
    return tuple(_unquoted(word) for word in words[1:] if word != _KEY_WORD)


def key_file_of(text: str) -> Path | None:
    """The file with the key in a unit file that `unit_text` has made."""
    found = _KEY.search(text)
    return Path(found[1].replace("%%", "%")) if found else None


def _command_word(text: str) -> str:
    """A word of a command line, in which systemd also replaces variables."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    """A word in a list of words."""
    escaped = _SPECIAL.sub(r"\\\g<0>", _literal(text))
    return text if _PLAIN.fullmatch(text) else f'"{escaped}"'


def _literal(text: str) -> str:
    """A text without specifiers: systemd replaces ``%h`` and similar."""
    return text.replace("%", "%%")


def _unquoted(word: str) -> str:
    if word.startswith('"'):
        word = _ESCAPED.sub(r"\1", word[1:-1])
    return word.replace("%%", "%").replace("$$", "$")
