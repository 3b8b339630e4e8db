"""The options as flags of a command line, for all commands of ours."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy.config.options import OPTIONS, Option


class SettingsOptions(usage.Options):
    """Keeps what was given, by option, in order.

    Attributes:
        given: as `ccproxy.config.settings.read_settings` takes it.
    """

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        super().__init__()

    @override
    def opt_version(self) -> NoReturn:
        """Show the version of ccproxy, and exit."""
        print(f"ccproxy {version('ccproxy')}")
        sys.exit(0)


def _collector(option: Option) -> Callable[..., None]:
    """The method by which `usage.Options` takes one option."""

    def take(options: SettingsOptions, text: str) -> None:
        options.given.setdefault(option.name, []).append(text)

    def switch(options: SettingsOptions) -> None:
        take(options, "1")

    about = [option.metavar and f"{option.metavar}: ", option.help]
    if option.default:
        about.append(f" [{option.environment}, default {option.default}]")
    else:
        about.append(f" [{option.environment}]")
    method = take if option.metavar else switch
    method.__doc__ = "".join(about)
    return method


for _option in OPTIONS:
    _method = _collector(_option)
    for _name in (_option.name, _option.short):
        if _name:
            setattr(SettingsOptions, f"opt_{_name.replace('-', '_')}", _method)
