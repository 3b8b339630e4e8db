"""Stored responses with their chains and pages, and stored conversations."""

from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred

from ccproxy.core.errors import StorageFailed
from ccproxy.store.records import Conversation, Item, TooLarge, UnknownItem, page_of
from ccproxy.store.store import Store
from tests.integration.store.conftest import Stores, ending, new, save_line

pytestmark = pytest.mark.threads

IMPOSSIBLE = ["", "resp_1\0", "é", "x" * 10_000, "resp_1'; --", "\ud800", "resp 1"]


@ensureDeferred
async def test_a_response_is_stored_whole(stores: Stores) -> None:
    store = await stores.start()
    # Whoever keeps it whole may know its end already.
    await store.responses.save(new(3, status="completed"), ending(3))
    chain = await store.responses.chain("resp_3")
    assert chain is not None
    assert [item.id for item in chain.items] == ["msg_3i", "msg_3o"]
    kept = await store.responses.get("resp_3")
    assert kept is not None
    assert (kept.id, kept.status, kept.is_background) == ("resp_3", "completed", False)
    assert kept.document == b'{"status":"completed"}'
    assert await store.responses.events("resp_3") == b"event: e\n\n" * 3
    again = await stores.start()
    assert await again.responses.get("resp_3") == kept


@ensureDeferred
async def test_long_chain_is_whole_and_in_order(stores: Stores) -> None:
    store = await stores.start()
    await save_line(store, range(120))
    chain = await store.responses.chain("resp_119")
    assert chain is not None
    wanted = [f"msg_{n}{side}" for n in range(120) for side in "io"]
    assert [item.id for item in chain.items] == wanted
    assert chain.items[-1].document == b'{"said":119}'
    branch = new(500, 7)
    await store.responses.save(branch, ending(500))
    chain = await store.responses.chain("resp_500")
    assert chain is not None
    assert [item.id for item in chain.items] == [*wanted[:16], "msg_500i", "msg_500o"]


@ensureDeferred
async def test_a_deleted_response_stays_in_later_chains(stores: Stores) -> None:
    store = await stores.start()
    await save_line(store, range(6))
    before = await store.responses.chain("resp_5")
    assert await store.responses.delete("resp_2")
    assert not await store.responses.delete("resp_2")
    assert await store.responses.get("resp_2") is None
    assert await store.responses.chain("resp_2") is None
    assert await store.responses.events("resp_2") is None
    assert await store.responses.chain("resp_5") == before
    # A leaf goes with everything that only it needed: 5 and 4, then 3 and 2.
    for name in ("resp_5", "resp_4", "resp_3"):
        assert await store.responses.delete(name)
    wanted = [f"msg_{n}{side}" for n in range(6) for side in "io"]
    kept = {"msg_0i", "msg_0o", "msg_1i", "msg_1o"}
    assert set(await store.responses.items(wanted)) == kept


@ensureDeferred
async def test_a_response_is_not_stored_if_the_previous_is_deleted(
    stores: Stores,
) -> None:
    store = await stores.start()
    with pytest.raises(StorageFailed, match="deleted in the meantime"):
        await store.responses.save(new(2, 1), ending(2))
    assert await store.responses.get("resp_2") is None
    assert await store.responses.items(["msg_2i"]) == {}


@ensureDeferred
async def test_nothing_is_stored_under_an_impossible_id(stores: Stores) -> None:
    store = await stores.start()
    for name in IMPOSSIBLE:
        await assert_unknown(store, name)


async def assert_unknown(store: Store, name: str) -> None:
    page: Any = {"after": None, "limit": 5, "descending": True}
    for found in (
        await store.responses.get(name),
        await store.responses.chain(name),
        await store.responses.events(name),
        await store.responses.cancel(name),
        await store.responses.input_items(name, **page),
        await store.conversations.get(name),
        await store.conversations.set_metadata(name, b"{}"),
        await store.conversations.items(name),
        await store.conversations.page(name, **page),
        await store.conversations.item(name, name),
    ):
        assert found is None
    assert not await store.responses.delete(name)
    assert not await store.conversations.delete(name)
    assert not await store.conversations.append(name, [])
    assert not await store.conversations.delete_item(name, name)
    assert await store.responses.items([name]) == {}


@ensureDeferred
async def test_the_newest_item_of_an_id_is_found(stores: Stores) -> None:
    store = await stores.start()
    for number in (1, 2, 3):
        item = Item("msg_same", b'{"n":%d}' % number)
        await store.responses.save(new(number, input=(item,)), ending(number))
    assert await store.responses.items(["msg_same", "msg_none"]) == {
        "msg_same": b'{"n":3}'
    }


@ensureDeferred
async def test_pages_of_a_responses_input(stores: Stores) -> None:
    store = await stores.start()
    await save_line(store, range(12))
    # Its own answer is not what it was given.
    wanted = [f"msg_{n}{side}" for n in range(12) for side in "io"][:-1]
    for descending in (False, True):
        found: list[str] = []
        after, has_more = None, True
        while has_more:
            page = await store.responses.input_items(
                "resp_11", after=after, limit=5, descending=descending
            )
            assert page is not None
            assert len(page.items) == 5 or not page.has_more
            found += [item.id for item in page.items]
            after, has_more = found[-1], page.has_more
        assert found == (wanted[::-1] if descending else wanted)
    for after in ("msg_11o", "x\0y"):
        with pytest.raises(UnknownItem):
            await store.responses.input_items(
                "resp_11", after=after, limit=5, descending=True
            )


@frozen
class Row:
    id: str
    size: int


@given(st.integers(0, 300), st.integers(1, 100), st.booleans())
def test_pages_follow_one_another(size: int, limit: int, descending: bool) -> None:
    rows = [Row(f"msg_{n}", 1) for n in range(size)]
    found: list[Row] = []
    after, has_more = None, True
    while has_more:
        page, has_more = page_of(rows, after, limit, descending)
        found += page
        after = page[-1].id if page else None
        assert len(page) == limit or not has_more
    assert found == (rows[::-1] if descending else rows)


def test_a_page_ends_before_it_is_too_large() -> None:
    rows = [Row(f"msg_{n}", 3 * 2**20) for n in range(2)]
    rows += [Row("large", 2**30), Row("small", 1), Row("last", 1)]
    pages = []
    after, has_more = None, True
    while has_more:
        page, has_more = page_of(rows, after, 100, False)
        after = page[-1].id
        pages.append([row.id for row in page])
    assert pages == [["msg_0"], ["msg_1"], ["large"], ["small", "last"]]


@ensureDeferred
async def test_a_history_over_the_limit_is_not_read(stores: Stores) -> None:
    store = await stores.start()
    items = [Item(f"msg_{n}", b"x" * 10) for n in range(3)]
    await store.conversations.create(Conversation("conv_1", 1, b"{}"), items)
    await save_line(store, range(2))
    chain = await store.responses.chain("resp_1")
    assert chain is not None
    size = sum(len(item.document) for item in chain.items)
    assert await store.conversations.items("conv_1", 30) == tuple(items)
    assert await store.responses.chain("resp_1", size) == chain
    assert len(await store.responses.items(["msg_0", "msg_1"], 20)) == 2
    for read in (
        store.conversations.items("conv_1", 29),
        store.responses.chain("resp_1", size - 1),
        store.responses.items(["msg_0", "msg_1"], 19),
    ):
        with pytest.raises(TooLarge):
            await read


# Responses that take their time


@ensureDeferred
async def test_background_response_runs_and_ends(stores: Stores) -> None:
    store = await stores.start()
    await store.responses.begin(new(1, status="queued", is_background=True))
    kept = await store.responses.get("resp_1")
    assert kept is not None
    assert (kept.status, kept.is_background) == ("queued", True)
    assert await store.responses.set_status("resp_1", "in_progress")
    assert await store.responses.events("resp_1") is None
    assert await store.responses.still_running(["resp_1", "resp_2"]) == {"resp_1"}
    assert await store.responses.finish("resp_1", ending(1))
    kept = await store.responses.get("resp_1")
    assert kept is not None
    assert kept.status == "completed"
    assert not await store.responses.set_status("resp_1", "in_progress")
    assert not await store.responses.finish("resp_1", ending(1))
    chain = await store.responses.chain("resp_1")
    assert chain is not None
    assert [item.id for item in chain.items] == ["msg_1i", "msg_1o"]


@ensureDeferred
async def test_a_response_cancelled_elsewhere_stays_cancelled(stores: Stores) -> None:
    store, other = await stores.start(), await stores.start()
    await store.responses.begin(new(1, status="in_progress", is_background=True))
    cancelled = await other.responses.cancel("resp_1")
    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert await store.responses.still_running(["resp_1"]) == frozenset()
    assert not await store.responses.finish("resp_1", ending(1))
    kept = await store.responses.get("resp_1")
    assert kept is not None
    assert kept.status == "cancelled"
    # What is over stays as it is.
    await store.responses.save(new(2), ending(2))
    kept = await other.responses.cancel("resp_2")
    assert kept is not None
    assert kept.status == "completed"


@ensureDeferred
async def test_a_response_deleted_elsewhere_is_not_stored_again(stores: Stores) -> None:
    store, other = await stores.start(), await stores.start()
    await store.responses.begin(new(1))
    assert await other.responses.delete("resp_1")
    assert await store.responses.still_running(["resp_1"]) == frozenset()
    assert not await store.responses.finish("resp_1", ending(1))
    assert await store.responses.get("resp_1") is None


@ensureDeferred
async def test_running_responses_of_a_stopped_server_have_failed(
    stores: Stores,
) -> None:
    gone, other = await stores.start(), await stores.start()
    await gone.responses.begin(new(1, status="queued"))
    await gone.responses.begin(new(2))
    await other.responses.begin(new(3))
    kept = await other.responses.get("resp_2")
    assert kept is not None
    assert kept.status == "in_progress"
    await gone.stop()
    for name, status in (
        ("resp_1", "failed"),
        ("resp_2", "failed"),
        ("resp_3", "in_progress"),
    ):
        kept = await other.responses.get(name)
        assert kept is not None
        assert kept.status == status


@pytest.fixture(autouse=True)
def abandoned(expected_errors: Any) -> None:
    expected_errors.allow("were left unfinished by a server that is gone")


# Conversations


@ensureDeferred
async def test_conversation_is_a_list_that_grows(stores: Stores) -> None:
    store = await stores.start()
    first = Conversation("conv_1", 5, b'{"a":"b"}')
    await store.conversations.create(first, [Item("msg_a", b"1")])
    assert await store.conversations.get("conv_1") == first
    assert await store.conversations.append(
        "conv_1", [Item("msg_b", b"2"), Item("msg_c", b"3")]
    )
    await store.responses.save(new(1, conversation_id="conv_1"), ending(1))
    whole = await store.conversations.items("conv_1")
    assert whole is not None
    names = ["msg_a", "msg_b", "msg_c", "msg_1i", "msg_1o"]
    assert [item.id for item in whole] == names
    page = await store.conversations.page(
        "conv_1", after="msg_c", limit=1, descending=False
    )
    assert page is not None
    assert ([item.id for item in page.items], page.has_more) == (["msg_1i"], True)
    assert await store.conversations.item("conv_1", "msg_b") == b"2"
    assert await store.conversations.delete_item("conv_1", "msg_b")
    assert not await store.conversations.delete_item("conv_1", "msg_b")
    assert await store.conversations.item("conv_1", "msg_b") is None
    changed = await store.conversations.set_metadata("conv_1", b"{}")
    assert changed == Conversation("conv_1", 5, b"{}")
    chain = await store.responses.chain("resp_1")
    assert chain is not None
    assert chain.conversation_id == "conv_1"


@ensureDeferred
async def test_a_deleted_conversation_has_no_items(stores: Stores) -> None:
    store = await stores.start()
    await store.conversations.create(
        Conversation("conv_1", 5, b"{}"), [Item("msg_a", b"1")]
    )
    await store.responses.begin(new(1, conversation_id="conv_1"))
    assert await store.conversations.delete("conv_1")
    assert not await store.conversations.delete("conv_1")
    assert await store.conversations.items("conv_1") is None
    assert await store.responses.items(["msg_a"]) == {}
    assert not await store.conversations.append("conv_1", [Item("msg_b", b"2")])
    # An answer that was made in it is an answer all the same.
    assert await store.responses.finish("resp_1", ending(1))


@ensureDeferred
async def test_all_servers_have_the_same_secret(stores: Stores) -> None:
    one, two = await stores.start(), await stores.start()
    assert await one.secret("seal", lambda: b"first") == b"first"
    assert await two.secret("seal", lambda: b"second") == b"first"
    assert await two.secret("other", lambda: b"third") == b"third"
