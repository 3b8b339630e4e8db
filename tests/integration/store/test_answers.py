"""Remembered answers, on both databases."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from sqlalchemy import create_engine, func, select
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.store import schema
from ccproxy.store.answers import KEEP_SECONDS, StoredAnswers
from ccproxy.store.store import Store
from tests.conftest import ExpectedErrors
from tests.integration.store.conftest import Stores
from tests.support.log_texts import DATABASE_FAILED

pytestmark = pytest.mark.threads

KEY = ("calls 1", "words 1")


def rows(stores: Stores) -> int:
    engine = create_engine(stores.url)
    with engine.connect() as connection:
        counted = select(func.count()).select_from(schema.answers)
        found: int = connection.execute(counted).scalar_one()
    engine.dispose()
    return found


async def written(store: Store) -> None:
    writing = store.answers._writing
    if writing is not None:
        await writing


@ensureDeferred
async def test_another_server_finds_a_stored_answer(stores: Stores) -> None:
    one, two = await stores.start(), await stores.start()
    assert await two.answers.find("ann", [KEY]) == []
    one.answers.put("ann", KEY, b"first")
    one.answers.put("ann", ("calls 2", "words 2"), b"second")
    await written(one)
    wanted = [("calls 2", "-"), KEY, ("calls 3", "-")]
    assert await two.answers.find("ann", wanted) == [b"first", b"second"]


@ensureDeferred
async def test_clients_find_their_own_answers_only(stores: Stores) -> None:
    store = await stores.start()
    store.answers.put("ann", KEY, b"hers")
    store.answers.put("bob", KEY, b"his")
    await written(store)
    assert await store.answers.find("bob", [KEY]) == [b"his"]
    assert await store.answers.find("eve", [KEY]) == []


@ensureDeferred
async def test_an_answer_is_found_by_its_text_if_its_calls_are_unknown(
    stores: Stores,
) -> None:
    store = await stores.start()
    store.answers.put("ann", KEY, b"asked for")
    store.answers.put("ann", ("calls 2", "words 1"), b"the same words")
    await written(store)
    assert await store.answers.find("ann", [KEY]) == [b"asked for"]
    found = await store.answers.find("ann", [("changed", "words 1")])
    assert found == [b"asked for", b"the same words"]


@ensureDeferred
async def test_the_newest_answers_with_the_same_text_are_found(stores: Stores) -> None:
    store = await stores.start()
    for number in range(100):
        store.answers.put("ann", (f"calls {number}", "ls"), b"%d" % number)
    await written(store)
    found = await store.answers.find("ann", [("changed", "ls")])
    assert found == [b"%d" % number for number in range(36, 100)]


@ensureDeferred
async def test_old_answers_are_not_found_and_are_deleted(stores: Stores) -> None:
    store = await stores.start()
    for number in range(250):
        store.answers.put("ann", (f"calls {number}", "-"), b"old")
    await written(store)
    stores.now += KEEP_SECONDS
    store.answers.put("ann", KEY, b"new")
    await written(store)
    assert await store.answers.find("ann", [("calls 7", "-")]) == [b"old"]
    stores.now += 1
    assert await store.answers.find("ann", [("calls 7", "-")]) == []
    assert await store.answers.sweep() == 250
    assert rows(stores) == 1
    assert await store.answers.find("ann", [KEY]) == [b"new"]


@ensureDeferred
async def test_the_oldest_answers_are_deleted_over_the_limit(stores: Stores) -> None:
    store = await stores.start(keep_size=10_000)
    for number in range(5):
        store.answers.put("ann", (f"calls {number}", "-"), b"%d" % number * 3_000)
    await written(store)
    await store.retention.sweep()
    kept = await store.answers.find("ann", [(f"calls {n}", "-") for n in range(5)])
    assert [document[:1] for document in kept] == [b"2", b"3", b"4"]


@ensureDeferred
async def test_stop_waits_for_answers_being_written(stores: Stores) -> None:
    store = await stores.start()
    for number in range(3):
        store.answers.put("ann", (f"calls {number}", "-"), b"x")
    await store.stop()
    store.answers.put("ann", KEY, b"too late")
    assert await store.answers.find("ann", [KEY]) == ()
    assert rows(stores) == 3


@ensureDeferred
async def test_a_failed_database_is_not_used_for_a_while(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(DATABASE_FAILED)
    store = await stores.start()
    clock = Clock()
    memory = StoredAnswers(store.database, clock, lambda: stores.now)
    engine = create_engine(stores.url)
    schema.answers.drop(engine)
    memory.put("ann", KEY, b"lost")
    while memory._writing is not None:
        await memory._writing
    # Asked at once, it would not be there: that is told once.
    assert await memory.find("ann", [KEY]) == ()
    memory.put("ann", KEY, b"not tried")
    schema.answers.create(engine)
    engine.dispose()
    clock.advance(59)
    assert await memory.find("ann", [KEY]) == ()
    clock.advance(1)
    memory.put("ann", KEY, b"kept")
    while memory._writing is not None:
        await memory._writing
    assert await memory.find("ann", [KEY]) == [b"kept"]
    await memory.stop()


class Stuck:
    """A database that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def read(self, *args: object) -> Any:
        self.asked += 1
        await Deferred()

    write = read


@ensureDeferred
async def test_a_question_does_not_wait_long_for_a_slow_database(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("the database is slow")
    clock, stuck = Clock(), Stuck()
    database: Any = stuck
    memory = StoredAnswers(database, clock, lambda: 0.0)
    found = Deferred.fromCoroutine(memory.find("ann", [KEY]))
    clock.advance(0.4)
    assert not found.called
    clock.advance(0.2)
    assert await found == ()
    assert await memory.find("ann", [KEY]) == ()
    assert stuck.asked == 1
    assert clock.getDelayedCalls() == []


def test_the_answers_that_wait_are_limited() -> None:
    database: Any = Stuck()
    memory = StoredAnswers(database, Clock(), lambda: 0.0)
    for _ in range(10):
        memory.put("ann", KEY, b"x" * 4_000_000)
    assert memory._waiting_bytes < 16 * 1024 * 1024
    # The first is being written, and too large a one is let go.
    assert len(memory._waiting) == 4
    memory.put("ann", KEY, b"x" * 20_000_000)
    assert memory._waiting_bytes == len(memory._waiting) == 0
