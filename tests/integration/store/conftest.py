"""A fresh SQLite or PostgreSQL database for each test."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.store.engine import sqlite_url
from ccproxy.store.records import FinalResponse, Item, NewResponse
from ccproxy.store.store import Store
from tests.support.database import postgresql, programs

_REACTOR: Any = reactor
DAY = 86_400


@define(eq=False)
class Stores:
    """Opens stores on one database; closes them all."""

    url: str
    path: Path | None
    now: float = 1_700_000_000.0
    opened: list[Store] = field(factory=list)

    def new(self, **options: Any) -> Store:
        """A store that has not been started."""
        store = Store(
            **{
                "url": lambda: self.url,
                "reactor": _REACTOR,
                "wall_seconds": lambda: self.now,
                "keep_time": None,
                "keep_size": None,
                **options,
            }
        )
        self.opened.append(store)
        return store

    async def start(self, **options: Any) -> Store:
        store = self.new(**options)
        await store.start()
        return store

    async def stop(self) -> None:
        for store in self.opened:
            await store.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def names() -> Iterator[int]:
    return count()


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, names: Iterator[int]
) -> Iterator[Stores]:
    path = None
    if request.param == "sqlite":
        path = tmp_path / "state" / "responses.sqlite"
        url = sqlite_url(path)
    else:
        pattern = request.getfixturevalue("cluster")
        name = f"test_{next(names)}"
        run_sql(pattern.format("postgres"), f"CREATE DATABASE {name}")
        url = pattern.format(name)
    made = Stores(url, path)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.stop()))


def run_sql(url: str, statement: str) -> None:
    """Run one statement on a PostgreSQL."""
    plain = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


def new(number: int, previous: int | None = None, **fields: Any) -> NewResponse:
    """The beginning of a response with one item."""
    values: dict[str, Any] = {
        "id": f"resp_{number}",
        "created_seconds": 1_700_000_000,
        "status": "in_progress",
        "document": b'{"status":"in_progress"}',
        "is_background": False,
        "previous_id": None if previous is None else f"resp_{previous}",
        "conversation_id": None,
        "input": (Item(f"msg_{number}i", b'{"asked":%d}' % number),),
    }
    return NewResponse(**{**values, **fields})


def ending(number: int, **fields: Any) -> FinalResponse:
    """The end of a response with one item."""
    values: dict[str, Any] = {
        "status": "completed",
        "document": b'{"status":"completed"}',
        "output": (Item(f"msg_{number}o", b'{"said":%d}' % number),),
        "events": (b"event: e\n\n" * number,),
    }
    return FinalResponse(**{**values, **fields})


async def save_line(store: Store, numbers: range) -> None:
    """Responses that continue one another."""
    previous = None
    for number in numbers:
        await store.responses.save(new(number, previous), ending(number))
        previous = number
