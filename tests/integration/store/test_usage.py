"""The usage ledger, on both databases."""

import os
import signal
import subprocess
import sys
from threading import Event
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from sqlalchemy import create_engine
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.core.errors import StorageFailed
from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageTotals
from ccproxy.store import conversation_usage, schema
from ccproxy.store.engine import sqlite_url
from ccproxy.store.inspection import read_usage
from ccproxy.store.schema import answers, rate_limits, usage
from ccproxy.store.usage import UsageLedger
from tests.conftest import ExpectedErrors
from tests.integration.store.conftest import DAY, Stores
from tests.support.log_texts import DATABASE_FAILED
from tests.support.waiting import until

pytestmark = pytest.mark.threads

TODAY = "2023-11-14"
ONE = UsageTotals(
    1,
    Usage(
        input_tokens=11,
        cache_read_tokens=3,
        cache_write_tokens=2,
        output_tokens=20,
        thinking_tokens=5,
    ),
    227_300,
)
WHO = ("claude-sonnet-5-5", "1a2b3c4d", "curl")


def window(used: float, reported_seconds: float = 1_700_000_000.0) -> RateWindow:
    return RateWindow(
        name="five_hour",
        used=used,
        status="allowed",
        resets_seconds=1_700_010_000.0,
        reported_seconds=reported_seconds,
    )


@ensureDeferred
async def test_usage_is_summed_up(stores: Stores) -> None:
    store = await stores.start()
    store.usage.add(*WHO, ONE)
    store.usage.add(*WHO, ONE)
    await store.usage.flush()
    store.usage.add(*WHO, ONE)
    store.usage.add("claude-opus-5", "-", "none", ONE)
    report = await store.usage.report(TODAY)
    assert report.lines == (
        (UsageKey(TODAY, "claude-opus-5", "-", "none"), ONE),
        (UsageKey(TODAY, *WHO), ONE + ONE + ONE),
    )
    assert report.windows == ()


@ensureDeferred
async def test_days_are_separate_and_older_days_are_left_out(stores: Stores) -> None:
    store = await stores.start()
    for day in range(3):
        stores.now = 1_700_000_000.0 + day * DAY
        store.usage.add(*WHO, ONE)
    report = await store.usage.report("2023-11-15")
    assert [account.day for account, _ in report.lines] == ["2023-11-15", "2023-11-16"]


@ensureDeferred
async def test_a_rate_window_has_its_last_report(stores: Stores) -> None:
    one, two = await stores.start(), await stores.start()
    one.usage.record_limits([window(0.62)])
    await one.usage.flush()
    two.usage.record_limits([window(0.7, 1_700_000_100.0)])
    await two.usage.flush()
    # What a slower server still had to write is older.
    one.usage.record_limits([window(0.65, 1_700_000_050.0)])
    assert (await one.usage.report(TODAY)).windows == (window(0.7, 1_700_000_100.0),)


@ensureDeferred
async def test_two_servers_add_to_one_row(stores: Stores) -> None:
    one, two = await stores.start(), await stores.start()
    for _ in range(5):
        one.usage.add(*WHO, ONE)
        two.usage.add(*WHO, ONE)
        await one.usage.flush()
        await two.usage.flush()
    [(_, totals)] = (await one.usage.report(TODAY)).lines
    assert totals.answers == 10
    assert totals.cost_nanodollars == 2_273_000


@ensureDeferred
async def test_usage_is_written_after_a_while_and_at_the_stop(
    stores: Stores,
) -> None:
    store = await stores.start()
    clock = Clock()
    ledger = UsageLedger(store.database, clock, lambda: stores.now)
    ledger.add(*WHO, ONE)
    clock.advance(4.9)
    assert read_usage(stores.url, TODAY).lines == ()
    clock.advance(0.2)
    await until(lambda: read_usage(stores.url, TODAY).lines != ())
    # Nothing is to be written, and nothing waits.
    assert clock.getDelayedCalls() == []
    store.usage.add(*WHO, ONE)
    await store.stop()
    [(_, totals)] = read_usage(stores.url, TODAY).lines
    assert totals == ONE + ONE


@ensureDeferred
async def test_usage_that_cannot_be_written_is_tried_again(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(DATABASE_FAILED)
    store = await stores.start()
    clock = Clock()
    ledger = UsageLedger(store.database, clock, lambda: stores.now)
    engine = create_engine(stores.url)
    usage.drop(engine)
    ledger.add(*WHO, ONE)
    ledger.record_limits([window(0.62)])
    await ledger.flush()
    ledger.add(*WHO, ONE)
    ledger.record_limits([window(0.7)])
    usage.create(engine)
    engine.dispose()
    clock.advance(60)
    await until(lambda: read_usage(stores.url, TODAY).lines != ())
    report = read_usage(stores.url, TODAY)
    assert report.lines == ((UsageKey(TODAY, *WHO), ONE + ONE),)
    assert report.windows == (window(0.7),)


@ensureDeferred
async def test_an_answer_that_ends_during_the_last_write_is_written(
    stores: Stores,
) -> None:
    store = await stores.start()
    store.usage.add(*WHO, ONE)
    stopped = Deferred.fromCoroutine(store.usage.stop())
    # The write of the first one runs in a thread now.
    store.usage.add(*WHO, ONE)
    await stopped
    [(_, totals)] = read_usage(stores.url, TODAY).lines
    assert totals == ONE + ONE


@ensureDeferred
async def test_a_stop_that_cannot_write_is_logged(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    for text in (DATABASE_FAILED, "usage of the last answers could not be"):
        expected_errors.allow(text)
    store = await stores.start()
    engine = create_engine(stores.url)
    usage.drop(engine)
    engine.dispose()
    store.usage.add(*WHO, ONE)
    await store.stop()
    # After it nothing is waited for any more.
    store.usage.add(*WHO, ONE)
    assert store.usage._timer is None


KILLED = """
import sys
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from ccproxy.core.usage import UsageTotals
from ccproxy.store.store import Store

async def main(_):
    store = Store(url=lambda: sys.argv[1], reactor=reactor, keep_time=None,
                  wall_seconds=lambda: 1_700_000_000.0, keep_size=None)
    await store.start()
    store.usage.add("m", "k", "c", UsageTotals(1))
    await store.usage.flush()
    store.usage.add("m", "k", "c", UsageTotals(1))
    print("written", flush=True)
    await Deferred()

task.react(lambda r: Deferred.fromCoroutine(main(r)))
"""


def test_a_killed_server_loses_unwritten_usage_only(stores: Stores) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, stores.url], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"written\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    [(_, totals)] = read_usage(stores.url, TODAY).lines
    assert totals.answers == 1


# Read by another program


@ensureDeferred
async def test_usage_is_read_while_the_server_runs(stores: Stores) -> None:
    store = await stores.start()
    store.usage.add(*WHO, ONE)
    store.usage.record_limits([window(0.62)])
    await store.usage.flush()
    assert read_usage(stores.url, TODAY) == await store.usage.report(TODAY)


@ensureDeferred
async def test_a_database_without_a_ledger_reads_as_empty(stores: Stores) -> None:
    await stores.start()
    engine = create_engine(stores.url)
    usage.drop(engine)
    rate_limits.drop(engine)
    engine.dispose()
    report = read_usage(stores.url, TODAY)
    assert (report.lines, report.windows) == ((), ())


def test_no_file_is_made_by_reading(tmp_path: Any) -> None:
    path = tmp_path / "state" / "responses.sqlite"
    assert read_usage(sqlite_url(path), TODAY).lines == ()
    assert not path.parent.exists()


def test_a_database_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Any) -> None:
    path = tmp_path / "responses.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageFailed, match="store cannot be read: file is not a data"):
        read_usage(sqlite_url(path), TODAY)
    with pytest.raises(StorageFailed) as caught:
        read_usage("postgresql+psycopg://me:secret@127.0.0.1:1/x", TODAY)
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message


# From the first version


@ensureDeferred
async def test_the_ledger_is_added_to_a_database_of_version_0001(
    stores: Stores,
) -> None:
    old = await stores.start()
    await old.secret("name", lambda: b"kept")
    await old.stop()
    engine = create_engine(stores.url)
    with engine.begin() as connection:
        usage.drop(connection)
        rate_limits.drop(connection)
        answers.drop(connection)
        schema.conversation_usage.drop(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    store = await stores.start()
    assert await store.secret("name", lambda: b"new") == b"kept"
    store.usage.add(*WHO, ONE)
    assert (await store.usage.report(TODAY)).lines == ((UsageKey(TODAY, *WHO), ONE),)


# By conversation


async def _conversations(store: Any, since: str = TODAY) -> list[tuple[Any, Any]]:
    report = await store.usage.report(since, "conversation")
    return [(usage_key.conversation, totals) for usage_key, totals in report.lines]


@ensureDeferred
async def test_a_conversation_has_one_total(stores: Stores) -> None:
    one, two = await stores.start(), await stores.start()
    one.usage.add(*WHO, ONE, conversation="a")
    stores.now += DAY
    two.usage.add("claude-opus-5", *WHO[1:], ONE, conversation="a")
    await two.usage.flush()
    stores.now += 1
    two.usage.add(*WHO, ONE, conversation="b")
    two.usage.add(*WHO, ONE)
    # An older answer that is written later does not change the time.
    assert await _conversations(one) != []
    assert await _conversations(two, "2023-11-15") == [("b", ONE), ("a", ONE + ONE)]
    assert await _conversations(two, "2023-11-16") == []
    [(usage_key, _), _] = read_usage(stores.url, TODAY, "conversation").lines
    assert usage_key == UsageKey("2023-11-15", "", *WHO[1:], "b")


@ensureDeferred
async def test_only_the_last_conversations_are_kept(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_usage, "MOST_CONVERSATIONS", 3)
    store = await stores.start()
    for number in range(5):
        stores.now += 1
        store.usage.add(*WHO, ONE, conversation=f"c{number}")
        await store.usage.flush()
    assert [name for name, _ in await _conversations(store)] == ["c4", "c3", "c2"]


@ensureDeferred
async def test_conversations_that_cannot_be_written_are_tried_again(
    stores: Stores, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(DATABASE_FAILED)
    store = await stores.start()
    engine = create_engine(stores.url)
    schema.conversation_usage.drop(engine)
    store.usage.add(*WHO, ONE, conversation="a")
    await store.usage.flush()
    # A database without the table, as of an older version, has no conversations.
    assert read_usage(stores.url, TODAY, "conversation").lines == ()
    store.usage.add(*WHO, ONE, conversation="a")
    schema.conversation_usage.create(engine)
    engine.dispose()
    assert await _conversations(store) == [("a", ONE + ONE)]
    [(_, totals)] = (await store.usage.report(TODAY)).lines
    assert totals == ONE + ONE


@ensureDeferred
async def test_old_conversations_are_deleted_by_age_and_size(stores: Stores) -> None:
    store = await stores.start(keep_time=DAY)
    store.usage.add(*WHO, ONE, conversation="old")
    await store.usage.flush()
    stores.now += 2 * DAY
    store.usage.add(*WHO, ONE, conversation="new")
    await store.usage.flush()
    await store.retention._clean()
    assert [name for name, _ in await _conversations(store)] == ["new"]
    small = await stores.start(keep_size=conversation_usage.ROW_BYTES)
    stores.now += 1
    small.usage.add(*WHO, ONE, conversation="newest")
    await small.usage.flush()
    await small.retention._clean()
    assert [name for name, _ in await _conversations(small)] == ["newest"]


@ensureDeferred
async def test_usage_of_a_request_that_ends_during_the_stop_is_written(
    stores: Stores,
) -> None:
    store = await stores.start()
    goes_on = Event()
    request = Deferred.fromCoroutine(
        store.database.read(lambda connection: goes_on.wait(10))
    )
    request.addCallback(lambda _: store.usage.add(*WHO, ONE))
    stopped = Deferred.fromCoroutine(store.stop())
    goes_on.set()
    await stopped
    [(_, totals)] = (await (await stores.start()).usage.report(TODAY)).lines
    assert totals == ONE
