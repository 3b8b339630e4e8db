"""Remembered answers, as queries. Everything here blocks."""

from collections.abc import Collection, Sequence

from attrs import frozen
from sqlalchemy import Connection, Row, delete, func, insert, select

from ccproxy.store.schema import answers

# What a row takes beside its document, roughly, with its indexes.
_ROW_BYTES = 300
_BATCH = 100
# A few words and a common call are said in many conversations.
_MOST_OF_SAME_WORDS = 64


@frozen(kw_only=True)
class NewAnswer:
    """An answer that is to be kept.

    Attributes:
        owner: the client whose it is.
        calls: the hash of the ids of its calls.
        said: the hash of what it says.
        created_seconds: Unix time.
        document: all of it.
    """

    owner: str
    calls: str
    said: str
    created_seconds: int
    document: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes to keep it, roughly."""
        return _ROW_BYTES + len(self.document)


def keep(connection: Connection, new: Sequence[NewAnswer]) -> None:
    """Keep some answers."""
    rows = [
        {
            "owner": answer.owner,
            "calls": answer.calls,
            "said": answer.said,
            "created_seconds": answer.created_seconds,
            "document": answer.document,
            "size": answer.size_bytes,
        }
        for answer in new
    ]
    connection.execute(insert(answers), rows)


def find(
    connection: Connection,
    owner: str,
    keys: Collection[tuple[str, str]],
    since_seconds: float,
) -> Sequence[bytes]:
    """The answers of one owner that have one of some keys, oldest first.

    Args:
        connection: only reads.
        owner: the client whose they are.
        keys: the hashes of the ids of their calls, and of what they say. The words
            count where nobody knows the ids.
        since_seconds: older ones are not looked at.
    """
    wanted = select(answers.c.id, answers.c.calls, answers.c.document).where(
        answers.c.owner == owner, answers.c.created_seconds >= since_seconds
    )
    by_calls = wanted.where(answers.c.calls.in_([calls for calls, _ in keys]))
    found: list[Row[tuple[int, str, bytes]]] = list(connection.execute(by_calls))
    known = {row.calls for row in found}
    others = [said for calls, said in keys if calls not in known]
    if others:
        by_words = (
            wanted.where(answers.c.said.in_(others))
            .order_by(answers.c.id.desc())
            .limit(_MOST_OF_SAME_WORDS)
        )
        found += connection.execute(by_words)
    documents = {row.id: bytes(row.document) for row in found}
    return [documents[identifier] for identifier in sorted(documents)]


def expire(connection: Connection, before_seconds: float) -> int:
    """Delete some answers that are older; returns how many."""
    # Other servers do the same, and nobody waits for them.
    old = connection.execute(
        select(answers.c.id)
        .where(answers.c.created_seconds < before_seconds)
        .order_by(answers.c.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    return _delete(connection, old.scalars().all())


def shrink(connection: Connection, keep_bytes: int) -> int:
    """Delete some of the oldest answers if all are more than that.

    Returns:
        How many.
    """
    sizes = select(func.coalesce(func.sum(answers.c.size), 0))
    excess = connection.execute(sizes).scalar_one() - keep_bytes
    if excess <= 0:
        return 0
    oldest = connection.execute(
        select(answers.c.id, answers.c.size)
        .order_by(answers.c.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    gone = []
    for row in oldest:
        if excess <= 0:
            break
        gone.append(row.id)
        excess -= row.size
    return _delete(connection, gone)


def _delete(connection: Connection, identifiers: Sequence[int]) -> int:
    if identifiers:
        connection.execute(delete(answers).where(answers.c.id.in_(identifiers)))
    return len(identifiers)
