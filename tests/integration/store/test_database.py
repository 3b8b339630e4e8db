"""The database: opened, migrated, failing, kept within its limits."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from sqlalchemy import Connection, create_engine, inspect, make_url, select, text
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater

from ccproxy.core.errors import StorageFailed
from ccproxy.store.records import Conversation, Item
from ccproxy.store.retention import _stored_bytes
from ccproxy.store.schema import conversation_usage, metadata, responses, versions
from ccproxy.store.upgrade import upgrade
from tests.conftest import ExpectedErrors
from tests.integration.store.conftest import (
    DAY,
    Stores,
    ending,
    new,
    run_sql,
    save_line,
)
from tests.support.log_texts import DATABASE_FAILED
from tests.support.relay import Relay
from tests.support.waiting import until

_REACTOR: Any = reactor

pytestmark = pytest.mark.threads


def tables(url: str) -> Any:
    """What a database says of its tables."""
    engine = create_engine(url)
    found = inspect(engine)
    told: dict[str, Any] = {}
    for name in found.get_table_names():
        columns = {
            c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(name)
        }
        indexed = {(i["name"], *i["column_names"]) for i in found.get_indexes(name)}
        keys = found.get_pk_constraint(name)["constrained_columns"]
        foreign = {
            (*f["constrained_columns"], f["referred_table"], *f["referred_columns"])
            for f in found.get_foreign_keys(name)
        }
        told[name] = columns, indexed, keys, foreign
    with engine.connect() as connection:
        told["revisions"] = connection.execute(select(versions)).all()
    engine.dispose()
    return told


@ensureDeferred
async def test_migrated_tables_are_those_of_an_empty_database(stores: Stores) -> None:
    await stores.start()
    made = tables(stores.url)
    assert made.keys() - {"revisions", "alembic_version"} == metadata.tables.keys()
    engine = create_engine(stores.url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(versions.delete())
        upgrade(connection, None)
    engine.dispose()
    assert tables(stores.url) == made


@ensureDeferred
async def test_two_servers_may_start_on_an_empty_database(stores: Stores) -> None:
    one, two, *others = [stores.new() for _ in range(6)]
    # Threads of one process.
    started = [Deferred.fromCoroutine(s.start()) for s in (one, two, *others)]
    for each in started:
        await each
    await save_line(one, range(2))
    await two.responses.save(new(2, 1), ending(2))
    chain = await one.responses.chain("resp_2")
    assert chain is not None
    assert len(chain.items) == 6


@ensureDeferred
async def test_the_caller_that_opens_the_database_may_be_cancelled(
    stores: Stores,
) -> None:
    store = stores.new()
    asked = Deferred.fromCoroutine(store.responses.get("resp_1"))
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    assert await store.responses.get("resp_1") is None


@ensureDeferred
async def test_a_database_of_a_newer_version_is_not_changed(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    await store.stop()
    change = "UPDATE alembic_version SET version_num = '9999'"
    if stores.path is None:
        run_sql(stores.url, change)
    else:
        with sqlite3.connect(stores.path) as connection:
            connection.execute(change)
    expected_errors.allow("written by a newer ccproxy (schema 9999")
    with pytest.raises(StorageFailed):
        await stores.start()


@ensureDeferred
async def test_old_responses_are_deleted_and_later_ones_keep_their_past(
    stores: Stores,
) -> None:
    store = await stores.start()
    await save_line(store, range(3))
    await store.responses.save(
        new(3, 2, created_seconds=int(stores.now) + 2 * DAY), ending(3)
    )
    await store.responses.save(new(4), ending(4))
    await store.responses.begin(new(5))
    before = await store.responses.chain("resp_3")
    for name, touched in (("conv_old", 0), ("conv_new", 2)):
        created = int(stores.now) + touched * DAY
        await store.conversations.create(
            Conversation(name, created, b"{}"), [Item("msg_x", b"x")]
        )
    stores.now += 2.5 * DAY
    keeper = await stores.start(keep_time=86_400.0)
    for number in (0, 1, 2, 4):
        assert await keeper.responses.get(f"resp_{number}") is None
    assert await keeper.responses.chain("resp_3") == before
    assert await keeper.responses.items(["msg_4i", "msg_4o"]) == {}
    # Whoever works on something keeps it.
    assert await keeper.responses.get("resp_5") is not None
    assert await keeper.conversations.get("conv_old") is None
    assert await keeper.conversations.get("conv_new") is not None


@ensureDeferred
async def test_the_oldest_responses_are_deleted_over_the_limit(stores: Stores) -> None:
    store = await stores.start()
    big = b'"' + os.urandom(20_000).hex().encode() + b'"'
    for number in range(10):
        item = Item(f"msg_{number}o", big)
        created = int(stores.now) + number
        await store.responses.save(
            new(number, created_seconds=created), ending(number, output=(item,))
        )
    keeper = await stores.start(keep_size=3 * len(big) + 5_000)
    left = [n for n in range(10) if await keeper.responses.get(f"resp_{n}") is not None]
    assert left == [7, 8, 9]
    if stores.path is not None:
        await store.stop()
        await keeper.stop()
        # Three of them, and the tables.
        assert stores.path.stat().st_size < 7 * len(big)


@pytest.mark.parametrize("kind", ["responses", "one chain", "conversations", "one"])
@ensureDeferred
async def test_no_kind_of_data_grows_over_the_limit_while_it_is_written(
    stores: Stores, kind: str
) -> None:
    limit = 200_000
    store = await stores.start(keep_size=limit)
    big = b'"' + os.urandom(5_000).hex().encode() + b'"'
    for number in range(60):
        stores.now += 1
        own = Item(f"msg_{number}", big)
        if kind == "conversations":
            conversation = Conversation(f"conv_{number}", int(stores.now), b"{}")
            await store.conversations.create(conversation, [own])
        elif kind == "one":
            if not await store.conversations.append("conv_1", [own]):
                conversation = Conversation("conv_1", int(stores.now), b"{}")
                await store.conversations.create(conversation, [own])
        else:
            final = ending(number, output=(own,))
            before = number - 1 if kind == "one chain" and number else None
            began = new(number, before, created_seconds=int(stores.now))
            try:
                await store.responses.save(began, final)
            except StorageFailed:
                # The chain alone was too large.
                assert before is not None
                began = new(number, None, created_seconds=int(stores.now))
                await store.responses.save(began, final)
        stored = await store.database.read(_stored_bytes)
        # A sixteenth, and what was just written.
        assert stored <= limit * 17 // 16 + 2 * len(big)


@ensureDeferred
async def test_deleted_data_is_overwritten_in_the_file(stores: Stores) -> None:
    if stores.path is None:
        pytest.skip("PostgreSQL's files are its own affair")
    store = await stores.start()
    hush = Item("msg_1o", b'"the moon is made of cheese"')
    await store.responses.save(new(1), ending(1, output=(hush,)))
    await store.responses.save(new(2), ending(2))
    await store.responses.delete("resp_1")
    await store.stop()
    for path in stores.path.parent.rglob("*"):
        assert path.is_dir() or b"cheese" not in path.read_bytes()


@ensureDeferred
async def test_the_stores_files_are_private(stores: Stores) -> None:
    if stores.path is None:
        pytest.skip("PostgreSQL's files are its own affair")
    mask = os.umask(0)
    try:
        store = await stores.start()
        await store.responses.save(new(1), ending(1))
    finally:
        os.umask(mask)
    folder = stores.path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in folder.iterdir()}
    assert {f"responses.sqlite{end}" for end in ("", "-wal", "-shm")} <= names
    for path in folder.rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == allowed


@ensureDeferred
async def test_a_locked_database_does_not_block_the_reactor(stores: Stores) -> None:
    store = await stores.start()
    released = threading.Event()
    locked: list[bool] = []

    def hold() -> None:
        if stores.path is not None:
            with sqlite3.connect(stores.path) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                locked.append(True)
                released.wait()
        else:
            plain = stores.url.replace("postgresql+psycopg", "postgresql")
            with psycopg.connect(plain) as other:
                other.execute("LOCK TABLE responses, nodes IN ACCESS EXCLUSIVE MODE")
                locked.append(True)
                released.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        await until(lambda: locked)
        saved = Deferred.fromCoroutine(store.responses.save(new(1), ending(1)))
        for _ in range(20):
            # The reactor turns, and the write waits.
            await deferLater(_REACTOR, 0)
        assert not saved.called
    finally:
        released.set()
    await saved
    holder.join()
    assert await store.responses.get("resp_1") is not None


@ensureDeferred
async def test_writers_do_not_wait_for_a_locked_database_one_after_the_other(
    stores: Stores,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if stores.path is None:
        pytest.skip("PostgreSQL has a limit for each statement")
    monkeypatch.setattr("ccproxy.store.engine.BUSY_SECONDS", 0.1)
    store = await stores.start()
    expected_errors.allow("database failed")
    with sqlite3.connect(stores.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        saves = [
            Deferred.fromCoroutine(store.responses.save(new(n), ending(n)))
            for n in range(20)
        ]
        outcomes = await DeferredList(saves, consumeErrors=True)
        assert [is_done for is_done, _ in outcomes] == [False] * 20
        # One of them has waited for the other process.
        assert store.database._lock_failures == 1
        other.execute("ROLLBACK")
    await store.responses.save(new(1), ending(1))
    assert await store.responses.get("resp_1") is not None


@ensureDeferred
async def test_a_full_disk_is_an_error_until_it_has_space(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    if stores.path is None:
        pytest.skip("how PostgreSQL fails is tested by its connection")
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    expected_errors.allow("database failed")
    # SQLite's own word for it: a limit on pages is a disk that is full.
    mended = await _limit_pages(store)
    with pytest.raises(StorageFailed):
        await store.responses.save(
            new(2), ending(2, output=(Item("msg_big", b'"' + b"x" * 10**6 + b'"'),))
        )
    assert await store.responses.get("resp_2") is None
    mended()
    await store.responses.save(new(2), ending(2))
    assert await store.responses.get("resp_2") is not None


async def _limit_pages(store: Any) -> Any:
    """Let the file grow no further; returns what takes that back."""
    from sqlalchemy import event

    engine = (await store.database.open()).writing
    pages = [50]

    def limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages[0]}").fetchall()

    event.listen(engine, "begin", limit)

    def mended() -> None:
        pages[0] = 10**9

    return mended


@pytest.mark.parametrize("broken", ["a file", "not ours"])
@ensureDeferred
async def test_each_call_reports_an_unusable_folder(
    tmp_path: Path, expected_errors: ExpectedErrors, broken: str
) -> None:
    target = tmp_path / "state"
    if broken == "a file":
        target.write_text("")
    else:
        target.mkdir()
        (target / "responses.sqlite").write_bytes(b"no database" * 1000)
    stores = Stores(f"sqlite:///{target}/responses.sqlite", None)
    expected_errors.allow(DATABASE_FAILED)
    store = stores.new()
    for _ in range(2):
        with pytest.raises(StorageFailed) as caught:
            await store.responses.get("resp_1")
        assert str(tmp_path) not in caught.value.message
    # And it is asked anew each time.
    if broken == "a file":
        target.unlink()
    else:
        (target / "responses.sqlite").unlink()
    assert await store.responses.get("resp_1") is None
    await stores.stop()


@ensureDeferred
async def test_a_database_server_that_comes_back_is_used_again(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    if stores.path is not None:
        pytest.skip("a file does not go away")
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    expected_errors.allow(DATABASE_FAILED)
    admin = stores.url.replace(stores.url.split("/")[3].split("?")[0], "postgres")
    run_sql(
        admin,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname <> 'postgres'",
    )
    assert await store.responses.get("resp_1") is not None
    # The lock by which others know it to be alive went with its connection.
    await store.responses.begin(new(2))
    await store.retention.sweep()
    other = await stores.start()
    kept = await other.responses.get("resp_2")
    assert kept is not None
    assert kept.status == "in_progress"


@pytest.mark.parametrize("how", ["removed", "folder removed", "replaced"])
@ensureDeferred
async def test_a_file_that_was_removed_is_noticed_and_made_again(
    stores: Stores, expected_errors: ExpectedErrors, how: str
) -> None:
    if stores.path is None:
        pytest.skip("a server has no file of ours")
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    expected_errors.allow(DATABASE_FAILED)
    expected_errors.allow("the database was removed or replaced")
    if how == "folder removed":
        shutil.rmtree(stores.path.parent)
    else:
        for file in stores.path.parent.glob("responses.sqlite*"):
            file.unlink()
        if how == "replaced":
            stores.path.touch()
    await store.retention.sweep()
    assert store.database.has_failed
    # Nothing is written to the file that is gone.
    await store.responses.save(new(2), ending(2))
    assert not store.database.has_failed
    other = await stores.start()
    assert await other.responses.get("resp_1") is None
    assert await other.responses.get("resp_2") is not None
    assert store.database.owner in os.listdir(stores.path.parent / "servers")


@ensureDeferred
async def test_a_database_that_was_emptied_gets_its_tables_again(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    expected_errors.allow(DATABASE_FAILED)
    expected_errors.allow("the database was removed or replaced")
    engine = create_engine(stores.url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        versions.drop(connection)
    engine.dispose()
    with pytest.raises(StorageFailed):
        await store.responses.get("resp_1")
    await store.responses.save(new(2), ending(2))
    assert await store.responses.get("resp_2") is not None


@pytest.fixture
def relay(stores: Stores) -> Iterator[Relay]:
    """A relay in front of PostgreSQL; the store connects to it."""
    if stores.path is not None:
        pytest.skip("a file always answers")
    url = make_url(stores.url)
    relay = Relay(f"{url.query['host']}/.s.PGSQL.5432")
    url = url.set(host="127.0.0.1", port=relay.number, query={"sslmode": "disable"})
    stores.url = url.render_as_string()
    yield relay
    pytest_twisted.blockon(Deferred.fromCoroutine(relay.stop()))


@ensureDeferred
async def test_a_database_server_that_does_not_answer_is_an_error(
    stores: Stores,
    relay: Relay,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is silent, as behind a firewall that has forgotten the connection."""
    store = await stores.start()
    await store.responses.save(new(1), ending(1))
    expected_errors.allow(DATABASE_FAILED)
    expected_errors.allow("the database does not answer")
    relay.is_silent = True
    monkeypatch.setattr("ccproxy.store.database._CALL_SECONDS", 0.1)
    calls = [Deferred.fromCoroutine(store.responses.get("resp_1")) for _ in range(4)]
    for call in calls:
        with pytest.raises(StorageFailed):
            await call
    relay.is_silent = False
    monkeypatch.undo()
    assert await store.responses.get("resp_1") is not None


@ensureDeferred
async def test_only_a_slow_query_that_is_known_as_slow_is_waited_for(
    stores: Stores,
    relay: Relay,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To count a large database takes longer than other queries may."""
    store = await stores.start()
    expected_errors.allow(DATABASE_FAILED)
    expected_errors.allow("the database does not answer")
    monkeypatch.setattr("ccproxy.store.database._CALL_SECONDS", 0.1)

    def sleep(connection: Connection) -> int:
        return int(connection.execute(text("SELECT 7 FROM pg_sleep(0.4)")).scalar_one())

    assert await store.database.read_slowly(sleep) == 7
    with pytest.raises(StorageFailed):
        await store.database.read(sleep)


@ensureDeferred
async def test_a_database_server_that_does_not_answer_does_not_hold_the_stop(
    stores: Stores,
    relay: Relay,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await stores.start()
    expected_errors.allow(DATABASE_FAILED)
    expected_errors.allow("the database does not answer")
    relay.is_silent = True
    monkeypatch.setattr("ccproxy.store.database._CLOSE_SECONDS", 0.1)
    under_way = Deferred.fromCoroutine(store.responses.get("resp_1"))
    await store.stop()
    with pytest.raises(StorageFailed):
        await under_way


@ensureDeferred
async def test_a_server_finishes_its_response_that_was_marked_as_failed(
    stores: Stores,
) -> None:
    store = await stores.start()
    await store.responses.begin(new(1))
    await store.database.write(_hold_for_dead)
    assert await store.responses.finish("resp_1", ending(1))
    kept = await store.responses.get("resp_1")
    assert kept is not None
    assert kept.status == "completed"


def _hold_for_dead(connection: Any) -> None:
    connection.exec_driver_sql("UPDATE responses SET status = 'failed'")


_VICTIM = """
import os, signal, sys, time
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from ccproxy.store import responses
from ccproxy.store.store import Store
from tests.integration.store.conftest import ending, new

store = Store(url=lambda: sys.argv[1], reactor=reactor, wall_seconds=time.time,
              keep_time=None, keep_size=None)

def dies(connection, new, ending, owner, now):
    responses.save(connection, new, ending, owner, now)
    os.kill(os.getpid(), signal.SIGKILL)

async def run():
    await store.start()
    await store.responses.save(new(1), ending(1))
    await store.responses.begin(new(2, 1))
    await store.database.write(dies, new(3, 1), ending(3), store.database.owner, 0)

Deferred.fromCoroutine(run()).addErrback(lambda f: (f.printTraceback(), os._exit(3)))
reactor.run()
"""


@ensureDeferred
async def test_a_kill_in_mid_write_leaves_whole_responses_only(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("1 responses were left unfinished")
    ran = subprocess.run(
        [sys.executable, "-c", _VICTIM, stores.url], capture_output=True, check=False
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    store = await stores.start()
    states = {}
    for number in (1, 2, 3):
        kept = await store.responses.get(f"resp_{number}")
        states[number] = None if kept is None else kept.status
    # What was whole is there, what ran has failed, what was being written is not.
    assert states == {1: "completed", 2: "failed", 3: None}
    await store.responses.save(new(4, 1), ending(4))
    chain = await store.responses.chain("resp_4")
    assert chain is not None
    assert len(chain.items) == 4


@ensureDeferred
async def test_streams_of_an_older_schema_are_rewritten(stores: Stores) -> None:
    store = await stores.start()
    await save_line(store, range(2))
    first, second = "resp_0", "resp_1"
    old = b'event: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type":"b"}\n\n'
    engine = create_engine(stores.url)
    with engine.begin() as connection:
        connection.execute(
            responses.update().values(
                events=zlib.compress(old + b"data: [DONE]\n\n"), size=1000
            )
        )
        connection.execute(
            responses.update().where(responses.c.id == second).values(events=None)
        )
        conversation_usage.drop(connection)
        connection.execute(versions.update().values(version_num="0003"))
        upgrade(connection, "0003")
        sizes = connection.execute(select(responses.c.id, responses.c.size)).all()
    engine.dispose()
    assert await store.responses.events(first) == b'{"type":"a"}\n{"type":"b"}'
    assert await store.responses.events(second) is None
    told = {row.id: row.size for row in sizes}
    assert told[second] == 1000
    # By as much less as the lines are shorter than the frames, both compressed.
    assert told[first] < 1000
