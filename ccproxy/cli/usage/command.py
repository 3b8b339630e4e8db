"""``ccproxy usage``: the command.

=====  ==================================================================
0      the ledger was read
1      it cannot be
2      the command line or a setting is wrong
=====  ==================================================================
"""

import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy.api.admin.usage import usage_document
from ccproxy.cli.usage.table import table
from ccproxy.config.flags import SettingsOptions
from ccproxy.config.settings import SettingsError, read_settings
from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import store_url
from ccproxy.store.inspection import read_usage

_WRONG, _MISUSED = 1, 2
_DEFAULT = "7d"
_DAYS = {"d": 1, "w": 7}
_SPAN = re.compile(r"(\d{1,4})([dw])")


class UsageOptions(SettingsOptions):
    """The command line: the server's options, and two more."""

    longdesc = (
        "Tells what was answered, by day, model, key and client, and how much of the "
        "subscription's limits is used. It finds the server's store by the same "
        "options: --state-dir or --database-url."
    )
    since = _DEFAULT
    is_json = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy usage [--since 7d] [--json] [the server's options]"

    @override
    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"{args[0]!r} is no option")

    def opt_since(self, text: str) -> None:
        """SINCE: the first day: 7d, 4w, today, or as 2026-11-25; 7d by default."""
        self.since = text

    def opt_json(self) -> None:
        """Write one JSON document instead of a table."""
        self.is_json = True


def run_usage(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy usage`` with these arguments, and exit."""
    options = UsageOptions()
    now_seconds = time.time()
    try:
        options.parseOptions(arguments)
        settings = read_settings(options.given, os.environ, needs_key=False)
        today = datetime.fromtimestamp(now_seconds, UTC).date()
        since = first_day(options.since, today).isoformat()
    except usage.UsageError as error:
        _exit(f"{error}; see `ccproxy usage --help`", _MISUSED)
    except (SettingsError, ValueError) as error:
        _exit(str(error), _MISUSED)
    url = store_url(settings.database_url, settings.state_dir)
    if url is None:
        _exit("there is no store: set --state-dir or --database-url", _MISUSED)
    try:
        books = read_usage(url, since)
    except StorageFailed as error:
        _exit(str(error), _WRONG)
    if options.is_json:
        print(usage_document(books, since).decode())
    else:
        print(table(books, since, now_seconds, None))
    sys.exit(0)


def first_day(text: str, today: date) -> date:
    """The day that ``--since`` means; ``1d`` is today.

    Raises:
        ValueError: none; one line for the operator.
    """
    wanted = text.strip().lower()
    if wanted == "today":
        return today
    span = _SPAN.fullmatch(wanted)
    try:
        if span is None:
            return date.fromisoformat(wanted)
        days = int(span[1]) * _DAYS[span[2]]
        return today - timedelta(days=max(days, 1) - 1)
    except (ValueError, OverflowError):
        raise ValueError(
            f"--since: {text!r} is none of 7d, 4w, today, 2026-11-25"
        ) from None


def _exit(message: str, status: int) -> NoReturn:
    print(f"ccproxy usage: {message}", file=sys.stderr)
    sys.exit(status)
