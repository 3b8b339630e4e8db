"""The store: one database with responses, conversations, usage and answers."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from ccproxy.store.answers import StoredAnswers
from ccproxy.store.conversations import ConversationStore
from ccproxy.store.database import Database
from ccproxy.store.responses import ResponseStore
from ccproxy.store.retention import Retention
from ccproxy.store.schema import secrets
from ccproxy.store.usage import UsageLedger


class Store:
    """All stored data, for use in the reactor's thread.

    Attributes:
        database: the database of all other attributes.
        responses: responses of the Responses API.
        conversations: conversations of the Responses API.
        usage: tokens and costs by day, model, key and client; the rate limits.
        answers: the model's messages in tool loops.
        retention: deletes old data, and limits the size.

    Args:
        url: returns SQLAlchemy's URL; called when the database is opened.
        wall_seconds: returns the Unix time.
        keep_time: responses and conversations older than this, in seconds, are deleted;
            None: nothing is deleted by age.
        keep_size: the limit of the bytes of all responses and conversations, and
            separately of all answers; None: no limit by the operator.
    """

    def __init__(
        self,
        *,
        url: Callable[[], str],
        reactor: Any,
        wall_seconds: Callable[[], float],
        keep_time: float | None,
        keep_size: int | None,
    ) -> None:
        # The UUID names this server. Two servers in one process need different names.
        self.database = database = Database(url, uuid4().hex, reactor)
        self.usage = UsageLedger(database, reactor, wall_seconds)
        self.answers = StoredAnswers(database, reactor, wall_seconds, keep_size)
        self.retention = retention = Retention(
            database,
            self.answers,
            reactor,
            wall_seconds,
            keep_time=keep_time,
            keep_size=keep_size,
        )
        make_room = retention.make_room
        self.responses = ResponseStore(database, wall_seconds, make_room)
        self.conversations = ConversationStore(database, wall_seconds, make_room)

    async def start(self) -> None:
        """Open the database, and start the periodic maintenance.

        Raises:
            StorageFailed: the database cannot be opened now.
        """
        await self.retention.start()

    async def stop(self) -> None:
        """Write all data in memory, wait for running calls, and close the database."""
        self.retention.stop()
        await self.answers.stop()
        # A request ends, and reports its usage, after its last call has ended.
        await self.database.settle()
        await self.usage.stop()
        await self.database.close()

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret with a name; all servers of the database get the same secret.

        Args:
            name: the secret's name.
            make: makes the secret if the database has none with this name.

        Raises:
            StorageFailed: the database failed.
        """
        return await self.database.write(_secret, name, make)


def _secret(connection: Connection, name: str, make: Callable[[], bytes]) -> bytes:
    wanted = select(secrets.c.value).where(secrets.c.name == name)
    found = connection.execute(wanted).scalar_one_or_none()
    if found is None:
        is_sqlite = connection.dialect.name == "sqlite"
        new = (sqlite if is_sqlite else postgresql).insert(secrets)
        # Another server may insert the secret at the same time.
        connection.execute(new.values(name=name, value=make()).on_conflict_do_nothing())
        found = connection.execute(wanted).scalar_one()
    return bytes(found)
