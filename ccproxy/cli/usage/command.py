"""The command ``ccproxy usage``, and its exit statuses.

=====  ==================================================================
0      the report was printed
1      the database cannot be read
2      the command line or a setting is wrong
=====  ==================================================================
"""

import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar, NoReturn

from typing_extensions import override

from ccproxy.api.admin.documents import usage_document
from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.cli.usage.table import table
from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import store_url
from ccproxy.store.inspection import read_usage

_DEFAULT = "7d"
_DAYS = {"d": 1, "w": 7}
_FIELDS = ("model", "key", "client", "day", "conversation")
_SPAN = re.compile(r"(\d{1,4})([dw])")


class UsageOptions(CommandOptions):
    """The command line of ``ccproxy usage``."""

    program = "ccproxy usage"
    about = (
        "Shows the number of answered requests, their tokens and their cost, by day, "
        "model, key and client; and how much of the subscription's rate limits is "
        "used. Reads the server's database: pass the server's --state-dir or "
        "--database-url."
    )
    metavars: ClassVar = {"since": "DAY", "by": "WHAT"}
    choices: ClassVar = {"by": _FIELDS}
    shows_settings = False
    needs_key = False
    since = _DEFAULT
    by = ""
    is_json = False

    @override
    def getSynopsis(self) -> str:
        own = "[--since 7d] [--by WHAT] [--json]"
        return f"Usage: ccproxy usage {own} [the server's options]"

    def opt_since(self, text: str) -> None:
        """The first day: 7d, 4w, today or 2026-11-25 [default: 7d]."""
        self.since = text

    def opt_by(self, text: str) -> None:
        """Sum up by model, key, client, day (default: all four) or conversation."""
        if text not in _FIELDS:
            self.refuse(f"--by: {text!r} is none of {', '.join(_FIELDS)}")
        self.by = text

    def opt_json(self) -> None:
        """Print the report as one JSON document."""
        self.is_json = True


def run_usage(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy usage`` with these arguments, and exit."""
    options = UsageOptions()
    options.parseOptions(arguments)
    now_seconds = time.time()
    try:
        today = datetime.fromtimestamp(now_seconds, UTC).date()
        since = first_day(options.since, today).isoformat()
    except ValueError as error:
        options.refuse(str(error))
    url = store_url(options.settings.database_url, options.settings.state_dir)
    if url is None:
        options.refuse("no database is given: set --state-dir or --database-url")
    try:
        report = read_usage(url, since, options.by)
    except StorageFailed as error:
        fail(options.program, str(error), ExitStatus.FAILED)
    if options.is_json:
        print(usage_document(report, since, options.by).decode())
    else:
        print(table(report, since, now_seconds, None, options.by))
    sys.exit(0)


def first_day(text: str, today: date) -> date:
    """Parse ``--since``; ``1d`` is today.

    Raises:
        ValueError: the text names no day; the message is for the operator.
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
