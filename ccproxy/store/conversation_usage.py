"""The usage of conversations: one row for each conversation.

Clients determine how many conversations there are, so the number of rows is limited.
The functions block the calling thread.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, case, delete, inspect, select
from sqlalchemy.dialects import postgresql, sqlite

from ccproxy.core.stream import Usage
from ccproxy.core.usage import UsageKey, UsageTotals
from ccproxy.store.schema import conversation_usage

MOST_CONVERSATIONS = 10_000
# The estimated size of a row, for `--keep-size`.
ROW_BYTES = 200


@frozen
class ConversationUsage:
    """The usage of one conversation.

    Attributes:
        key: the id of the client's key.
        client: the family of the client program.
        used_seconds: Unix time of the last answer.
        totals: the sums over all answers.
    """

    key: str
    client: str
    used_seconds: int
    totals: UsageTotals

    def __add__(self, later: "ConversationUsage") -> "ConversationUsage":
        sums = self.totals + later.totals
        return ConversationUsage(later.key, later.client, later.used_seconds, sums)


def write_conversations(
    connection: Connection, used: Mapping[str, ConversationUsage]
) -> None:
    """Add usage to conversations, and delete the oldest rows above the limit."""
    is_sqlite = connection.dialect.name == "sqlite"
    insert = (sqlite if is_sqlite else postgresql).insert
    known = conversation_usage.c
    # All servers lock the rows in one order, so that there is no deadlock.
    for identifier in sorted(used):
        one = used[identifier]
        counts = one.totals.counts
        row = insert(conversation_usage).values(
            id=identifier,
            key=one.key,
            client=one.client,
            used_seconds=one.used_seconds,
            **counts,
        )
        new = row.excluded
        is_newer = new.used_seconds > known.used_seconds
        last = {
            "used_seconds": case((is_newer, new.used_seconds), else_=known.used_seconds)
        }
        sums = {name: known[name] + new[name] for name in counts}
        connection.execute(
            row.on_conflict_do_update(index_elements=["id"], set_={**last, **sums})
        )
    newest = known.used_seconds.desc()
    surplus = select(known.id).order_by(newest, known.id).offset(MOST_CONVERSATIONS)
    # Another server may be deleting the same rows.
    _delete(connection, surplus.with_for_update(skip_locked=True))


def expire_conversation_usage(connection: Connection, before_seconds: float) -> None:
    """Delete the rows of conversations that were last used before a time."""
    old = select(conversation_usage.c.id).where(
        conversation_usage.c.used_seconds < before_seconds
    )
    _delete(connection, old.with_for_update(skip_locked=True))


def delete_conversation_usage(connection: Connection, identifier: str) -> None:
    """Delete the row of a conversation."""
    own = conversation_usage.c.id == identifier
    connection.execute(delete(conversation_usage).where(own))


def read_conversations(
    connection: Connection, since_day: str
) -> tuple[tuple[UsageKey, UsageTotals], ...]:
    """The usage of conversations that were used since a day, the latest first.

    The result is empty if the database's schema is too old to have the table.
    """
    if not inspect(connection).has_table(conversation_usage.name):
        return ()
    midnight = datetime.combine(date.fromisoformat(since_day), time(tzinfo=UTC))
    used = conversation_usage.c.used_seconds
    found = (
        select(conversation_usage)
        .where(used >= int(midnight.timestamp()))
        .order_by(used.desc(), conversation_usage.c.id)
    )
    return tuple((_key(row), totals_of(row)) for row in connection.execute(found))


def totals_of(row: Row[Any]) -> UsageTotals:
    """The totals in a row of a usage table."""
    tokens = Usage(
        input_tokens=row.input_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        thinking_tokens=row.thinking_tokens,
    )
    return UsageTotals(row.answers, tokens, row.cost_nanodollars)


def _delete(connection: Connection, chosen: Any) -> None:
    names = connection.execute(chosen).scalars().all()
    if names:
        old = conversation_usage.c.id.in_(names)
        connection.execute(delete(conversation_usage).where(old))


def _key(row: Row[Any]) -> UsageKey:
    day = datetime.fromtimestamp(row.used_seconds, UTC).date().isoformat()
    return UsageKey(day, "", row.key, row.client, row.id)
