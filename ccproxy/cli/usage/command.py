"""``ccproxy usage``: the command.

=====  ==================================================================
0      the ledger was read
1      the ledger cannot be read
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
_SPAN = re.compile(r"(\d{1,4})([dw])")


class UsageOptions(CommandOptions):
    """The command line of the usage report."""

    program = "ccproxy usage"
    about = (
        "Shows how many requests were answered, with tokens and costs, by day, model, "
        "key and client, and how much of the subscription's limits is used. It reads "
        "the server's store: give it the server's --state-dir or --database-url."
    )
    metavars: ClassVar = {"since": "DAY"}
    shows_settings = False
    needs_key = False
    since = _DEFAULT
    is_json = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy usage [--since 7d] [--json] [the server's options]"

    def opt_since(self, text: str) -> None:
        """The first day: 7d, 4w, today or 2026-11-25 [default: 7d]."""
        self.since = text

    def opt_json(self) -> None:
        """Write one JSON document instead of a table."""
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
        options.refuse("there is no store: set --state-dir or --database-url")
    try:
        report = read_usage(url, since)
    except StorageFailed as error:
        fail(options.program, str(error), ExitStatus.FAILED)
    if options.is_json:
        print(usage_document(report, since).decode())
    else:
        print(table(report, since, now_seconds, None))
    sys.exit(0)


def first_day(text: str, today: date) -> date:
    """The day that ``--since`` means; ``1d`` is today.

    Raises:
        ValueError: not a day; one line for the operator.
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
