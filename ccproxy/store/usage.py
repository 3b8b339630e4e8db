"""What has been used, as queries. Everything here blocks.

A row is one day of one model, key and client; there are so few of them that none is
ever deleted.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict
from sqlalchemy import Connection, Row, inspect, select
from sqlalchemy.dialects import postgresql, sqlite

from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals
from ccproxy.store.schema import rate_limits, usage

_ACCOUNT = ("day", "model", "key", "client")


def keep(
    connection: Connection,
    spent: Mapping[UsageKey, UsageTotals],
    windows: Iterable[RateWindow],
) -> None:
    """Add to what was spent, and note what was told of the limits."""
    is_sqlite = connection.dialect.name == "sqlite"
    insert = (sqlite if is_sqlite else postgresql).insert
    # In one order, so that two servers do not wait for each other's rows.
    for account in sorted(spent, key=lambda a: (a.day, a.model, a.key, a.client)):
        counts = _counts(spent[account])
        row = insert(usage).values(**asdict(account), **counts)
        added = {name: usage.c[name] + row.excluded[name] for name in counts}
        connection.execute(
            row.on_conflict_do_update(index_elements=_ACCOUNT, set_=added)
        )
    for window in sorted(windows, key=lambda w: w.name):
        line = insert(rate_limits).values(**asdict(window))
        told = {c.name: c for c in line.excluded if c.name != "name"}
        is_newer = line.excluded.told_seconds >= rate_limits.c.told_seconds
        connection.execute(
            line.on_conflict_do_update(
                index_elements=["name"], set_=told, where=is_newer
            )
        )


def books(connection: Connection, since_day: str) -> UsageReport:
    """What was spent from a day on, and how much of the limits is used.

    Empty where the database is of a time without a ledger.
    """
    tables = inspect(connection)
    if not (tables.has_table(usage.name) and tables.has_table(rate_limits.name)):
        return UsageReport()
    columns = [usage.c[name] for name in _ACCOUNT]
    found = select(usage).where(usage.c.day >= since_day).order_by(*columns)
    known = select(rate_limits).order_by(rate_limits.c.name)
    return UsageReport(
        tuple(_line(row) for row in connection.execute(found)),
        tuple(RateWindow(**row._mapping) for row in connection.execute(known)),
    )


def _counts(spent: UsageTotals) -> Mapping[str, int]:
    return {
        "answers": spent.answers,
        **spent.usage.counts,
        "cost_nanodollars": spent.cost_nanodollars,
    }


def _line(row: Row[Any]) -> tuple[UsageKey, UsageTotals]:
    tokens = Usage(
        input_tokens=row.input_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        thinking_tokens=row.thinking_tokens,
    )
    return (
        UsageKey(row.day, row.model, row.key, row.client),
        UsageTotals(row.answers, tokens, row.cost_nanodollars),
    )
