"""The dashboard in headless Chromium, with the demo server and the real CLI.

All tests have one server and one browser, each test a new tab: both take seconds of
processor time to start.

With ``CCPROXY_SCREENSHOTS`` set to a folder, the pictures of `docs/` are made there.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

import pytest

from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageTotals
from ccproxy.store.engine import DATABASE_FILE, Connections, open_engines, sqlite_url
from ccproxy.store.usage import write_usage
from tests.conftest import Kept
from tests.packaging.commands import CCPROXY, environment
from tests.support.browser import (
    CHROMIUM,
    DRIVER,
    ENTER,
    LEFT,
    TAB,
    Browser,
    DemoServer,
)

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver"
)

# The pictures of the docs show a table with something in it.
QUESTIONS = 18 if "CCPROXY_SCREENSHOTS" in os.environ else 6
SECRET = "a-word-nobody-else-would-say"
# Chromium says so of any answer that is an error, or of none.
EXPECTED = ("status of 401", "ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED", "ERR_EMPTY")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    folder = tmp_path_factory.mktemp("server")
    own = DemoServer(CCPROXY, environment(folder), folder / "state")
    own.start()
    yield own
    own.stop()


@pytest.fixture(scope="module")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    own = Browser(tmp_path_factory.mktemp("profile"))
    yield own
    own.quit()


@pytest.fixture(scope="module")
def kept(server: DemoServer, running_browser: Browser) -> Callable[[], Kept]:
    """The processes of the server and the browser, which are no leak."""

    def tell() -> Kept:
        processes = [p for p in (server.process, running_browser.process) if p]
        pipes = [f"/proc/self/fd/{p.stdout.fileno()}" for p in processes]
        names = [os.readlink(pipe) for pipe in pipes]
        return Kept(children=[p.pid for p in processes], descriptors=names)

    return tell


@pytest.fixture
def browser(running_browser: Browser) -> Browser:
    """The browser with a new tab, which knows no key."""
    running_browser.new_tab()
    return running_browser


def enter(browser: Browser, server: DemoServer, key: str = "demo") -> None:
    """Open the page and type the key, as a user does."""
    browser.open(f"{server.url}/dashboard")
    browser.type("#key", key + ENTER)


def is_live(browser: Browser) -> bool:
    return browser.count("#link[data-state=live]") == 1


def say(browser: Browser, text: str) -> str:
    """Ask in the chat by keyboard alone; the whole answer."""
    whole = ".said.model small"
    before = browser.count(whole)
    browser.type("#text", text + ENTER)
    browser.until(lambda: browser.count(whole) > before)
    return browser.text(".said.model:last-child span")


def question(text: str, model: str) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": model, "messages": [message]}).encode()


def unexpected(browser: Browser) -> list[str]:
    complaints = browser.complaints()
    return [c for c in complaints if not any(known in c for known in EXPECTED)]


@pytest.mark.threads
def test_it_streams_an_answer_and_shows_it_without_a_word(
    browser: Browser, server: DemoServer
) -> None:
    enter(browser, server)
    browser.until(lambda: is_live(browser))
    browser.run(
        """
        window.lengths = new Set();
        new MutationObserver(() => window.lengths.add(
          document.querySelector('.said.model span')?.textContent.length
        )).observe(document.getElementById('talk'),
          {subtree: true, childList: true, characterData: true});
        """
    )
    assert "a script answers" in say(browser, f"Hello, {SECRET}!")
    # It came piece by piece.
    assert len(browser.run("return [...window.lengths]")) > 10
    row = browser.until(lambda: browser.text("#requests tbody tr:not(.now)"))
    assert "POST /chat/completions" in row
    assert "browser" in row
    assert "stop" in row
    assert SECRET not in browser.text("#requests")
    assert browser.text("#t-first").endswith("s")
    assert float(browser.text("#t-rate")) > 1
    browser.until(lambda: "1 answer" in browser.text("#t-today-note"))
    assert browser.text("#t-today").startswith("$0.0")
    assert browser.complaints() == []
    # The key is in no address, and is gone with the tab.
    assert browser.address == f"{server.url}/dashboard"
    assert browser.run("return Object.keys(localStorage)") == []
    assert browser.run("return Object.values(sessionStorage)") == ["demo"]
    assert "demo" not in "".join(
        browser.run("return performance.getEntries().map(e => e.name)")
    )


@pytest.mark.threads
def test_a_wrong_key_is_told_and_the_right_one_still_opens(
    browser: Browser, server: DemoServer
) -> None:
    enter(browser, server, "wrong")
    browser.until(lambda: browser.text("#key-error"))
    assert "This key is wrong" in browser.text("#key-error")
    assert browser.run("return sessionStorage.length") == 0
    assert not browser.is_shown("#board")
    # What was typed is selected, so that typing replaces it.
    browser.type("#key", "demo" + ENTER)
    browser.until(lambda: is_live(browser))
    errors = browser.until(lambda: browser.text("#errors"))
    assert "invalid_api_key" in errors
    assert "PROXY_API_KEY" in errors
    assert unexpected(browser) == []
    browser.click("#leave")
    assert browser.is_shown("#key")
    assert browser.run("return sessionStorage.length") == 0


@pytest.mark.threads
def test_it_survives_a_restart(browser: Browser, server: DemoServer) -> None:
    enter(browser, server)
    browser.until(lambda: is_live(browser))
    say(browser, "Before")
    rows = browser.count("#requests tbody tr")
    server.stop()
    browser.until(lambda: "away" in browser.text("#link-text"))
    server.start()
    browser.until(lambda: is_live(browser))
    assert "“After”" in say(browser, "After")
    browser.until(lambda: browser.count("#requests tbody tr") == rows + 1)
    assert unexpected(browser) == []


@pytest.mark.threads
def test_it_fits_and_is_operated_by_keyboard(
    browser: Browser, server: DemoServer
) -> None:
    browser.look(360, 740)
    enter(browser, server)
    browser.until(lambda: is_live(browser))
    say(browser, "word " * 12 + "x" * 200)
    overflow = "return document.documentElement.scrollWidth - innerWidth"
    assert browser.run(overflow) <= 0
    reached = set()
    browser.run("document.activeElement.blur()")
    for _ in range(40):
        browser.press(TAB)
        reached.add(browser.run("return document.activeElement.id"))
    controls = {"theme", "leave", "c-first", "days", "model", "text", "send", "clear"}
    assert controls <= reached
    # A chart's values can be read one by one.
    browser.until(lambda: browser.count("#c-first [data-place]"))
    browser.run("document.getElementById('c-first').focus()")
    browser.press(LEFT)
    assert "sonnet" in browser.text("#c-first-note")
    # A theme of one's own.
    ground = "return getComputedStyle(document.body).backgroundColor"
    seen = []
    for _ in range(3):
        browser.click("#theme")
        seen.append(browser.run(ground))
    assert seen[0] == seen[2] != seen[1]
    assert browser.complaints() == []


def fill(state: Path) -> None:
    """Write a month of a busy household into the ledger."""
    opened = open_engines(sqlite_url(state / DATABASE_FILE), "test", Connections())
    today = datetime.fromtimestamp(time(), UTC).date()
    spent = {}
    for back in range(1, 30):
        day = (today - timedelta(days=back)).isoformat()
        busy = (back * 37 % 23 + 4) * (0.3 if back % 7 in (2, 3) else 1.0)
        for model, client, share, cost in (
            ("claude-sonnet-5-5", "continue", 3, 11),
            ("claude-opus-5-5", "claude-code", 2, 46),
            ("claude-haiku-5-5", "open-webui", 5, 3),
        ):
            answers = round(busy * share)
            usage = Usage(
                input_tokens=answers * 700,
                cache_read_tokens=answers * 5200,
                output_tokens=answers * 420,
            )
            account = UsageKey(day, model, "89ab4c1d", client)
            spent[account] = UsageTotals(answers, usage, answers * cost * 1_000_000)
    windows = [
        RateWindow(
            name=name,
            used=used,
            status="allowed",
            resets_seconds=time() + left,
            reported_seconds=time(),
        )
        for name, used, left in (
            ("five_hour", 0.62, 7900),
            ("seven_day", 0.31, 301000),
        )
    ]
    with opened.writing.begin() as connection:
        write_usage(connection, spent, windows)
    opened.close()


@pytest.mark.threads
def test_pictures(browser: Browser, server: DemoServer, tmp_path: Path) -> None:
    """What one sees, light, dark and on a telephone; also the pictures of the docs."""
    fill(server.state)
    models = ("sonnet", "haiku", "opus", "sonnet", "sonnet", "haiku")
    agents = ("openai/python 3.54", "Continue/1.2", "curl/8.9", "aider/0.90")
    with ThreadPoolExecutor(4 if "CCPROXY_SCREENSHOTS" in os.environ else 1) as others:
        asked = [
            others.submit(
                server.ask,
                question("Say something. " * (1 + place % 5), models[place % 6]),
                agents[place % 4],
            )
            for place in range(QUESTIONS)
        ]
        assert {one.result() for one in asked} == {200}
        assert server.ask(question("Hi", "gpt-4o"), agents[1]) == 404
        assert server.ask(question("Hi", "sonnet"), agents[0], "old-key") == 401
        enter(browser, server)
        browser.until(lambda: is_live(browser))
        say(browser, "What is this?")
        browser.until(lambda: browser.text("#usage tfoot"))
        folder = Path(os.environ.get("CCPROXY_SCREENSHOTS", tmp_path))
        for name, width, scheme in (
            ("light", 1280, "light"),
            ("dark", 1280, "dark"),
            ("360", 360, "light"),
        ):
            going = others.submit(server.ask, question("Tell me", "opus"), agents[0])
            browser.until(lambda: browser.count("tr.now"))
            browser.look(width, scheme=scheme)
            picture = folder / f"dashboard-{name}.png"
            browser.picture(picture)
            assert picture.stat().st_size > 20_000
            assert going.result() == 200
    assert browser.run("return innerWidth") == 360
    assert browser.complaints() == []
