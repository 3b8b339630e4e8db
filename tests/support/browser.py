"""A server process, and a headless browser for its pages.

Both block and do not use the tests' reactor. The browser is controlled by WebDriver,
over HTTP.

Source: W3C WebDriver; ChromeDriver's own commands begin with ``goog`` and ``se``.
"""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from attrs import define, field
from typing_extensions import override

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# Far more than anything here takes; only a failing test gets near.
_PATIENCE_SECONDS = 30
_LOOK_SECONDS = 0.05
# Without the last of these it looks for its maker's hosts at every start.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-component-update", "--disable-sync"),
    *("--disable-background-networking", "--hide-scrollbars"),
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, TAB, LEFT = "\ue007", "\ue004", "\ue012"

_T = TypeVar("_T")


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """An HTTP client that raises no error for any status."""

    @override
    def http_response(self, request: Any, response: Any) -> Any:
        return response


_opener = urllib.request.build_opener(_EveryStatus)


def _started(command: list[str], ready: str, **options: Any) -> tuple[Any, str]:
    """Start a program, and wait for its ready line; returns the line's group."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    said = ""
    output: Any = process.stdout
    for line in output:
        said += line
        match = re.search(ready, line)
        if match is not None:
            return process, match[1]
    raise AssertionError(said)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.communicate(timeout=_PATIENCE_SECONDS)


@define(eq=False)
class DemoServer:
    """``ccproxy --demo`` on a port that it keeps over restarts."""

    command: str
    environment: Mapping[str, str]
    state: Path
    url: str = ""
    process: Any = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        port = self.url.rpartition(":")[2] or "0"
        command = [self.command, "--demo", "--port", port, "--state-dir"]
        self.process, self.url = _started(
            [*command, str(self.state)], r"listens on (\S+)/v1;", env=self.environment
        )

    def stop(self) -> None:
        """Stop it, and wait until it has gone."""
        process, self.process = self.process, None
        if process is not None:
            _end(process)

    def ask(self, body: bytes, agent: str, key: str = "demo") -> int:
        """Send a chat request as another client; returns the status."""
        headers = {"authorization": f"Bearer {key}", "user-agent": agent}
        url = f"{self.url}/v1/chat/completions"
        request = urllib.request.Request(url, body, headers)
        with _opener.open(request, timeout=_PATIENCE_SECONDS) as response:
            response.read()
            status: int = response.status
            return status


@define(eq=False)
class Browser:
    """A headless Chromium with an empty profile."""

    profile: Path
    process: Any = field(init=False)
    _session: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        ready = r"started successfully on port (\d+)"
        self.process, port = _started([DRIVER or "", "--port=0"], ready)
        self._session = f"http://127.0.0.1:{port}/session"
        chrome = {
            "binary": CHROMIUM,
            "args": [*_FLAGS, f"--user-data-dir={self.profile}"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": chrome,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._tell("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session += f"/{made['sessionId']}"

    def quit(self) -> None:
        """Close it."""
        self._tell("DELETE", "")
        _end(self.process)

    def new_tab(self) -> None:
        """Replace the tab by one with a storage and a size of its own, and no log."""
        new = self._tell("POST", "/window/new", {"type": "tab"})["handle"]
        self._tell("DELETE", "/window")
        self._tell("POST", "/window", {"handle": new})
        self.complaints()

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._tell("POST", "/url", {"url": url})

    @property
    def address(self) -> str:
        """The URL of the open page."""
        address: str = self._tell("GET", "/url")
        return address

    def text(self, selector: str) -> str:
        """The visible text of the first matching element; empty if there is none."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        text: str = self.run(script, selector)
        return text

    def count(self, selector: str) -> int:
        """The number of matching elements."""
        script = "return document.querySelectorAll(arguments[0]).length"
        count: int = self.run(script, selector)
        return count

    def is_shown(self, selector: str) -> bool:
        """Whether an element can be seen."""
        shown: bool = self._tell("GET", f"{self._element(selector)}/displayed")
        return shown

    def click(self, selector: str) -> None:
        """Click on an element's middle."""
        self._tell("POST", f"{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._tell("POST", f"{self._element(selector)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key in the focused element."""
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": keys}
        self._tell("POST", "/actions", {"actions": [source]})

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page."""
        body = {"script": script, "args": arguments}
        return self._tell("POST", "/execute/sync", body)

    def until(self, condition: "Callable[[], _T]") -> _T:
        """Poll until a value is true; returns the value."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(_LOOK_SECONDS)
        raise AssertionError(f"never came true: {self.text('body')}")

    def complaints(self) -> list[str]:
        """The console's warnings and errors since the last call."""
        entries = self._tell("POST", "/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def look(
        self, width: int, height: int | None = None, *, scheme: str = "light"
    ) -> None:
        """Set the screen's size and colour scheme; without height, that of the page."""
        media = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", {"features": [media]})
        for tall in (height or 900, height):
            size = tall or self.run("return document.documentElement.scrollHeight")
            screen = {"width": width, "height": size, "deviceScaleFactor": 1}
            screen["mobile"] = False
            self._command("Emulation.setDeviceMetricsOverride", screen)

    def picture(self, path: Path) -> None:
        """Write a screenshot as a PNG file."""
        path.write_bytes(b64decode(self._tell("GET", "/screenshot")))

    def _element(self, selector: str) -> str:
        body = {"using": "css selector", "value": selector}
        found = self._tell("POST", "/element", body)
        return f"/element/{found[_ELEMENT]}"

    def _command(self, name: str, parameters: Mapping[str, object]) -> None:
        self._tell("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def _tell(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._session + path, data, method=method)
        response: IO[bytes]
        with _opener.open(request, timeout=2 * _PATIENCE_SECONDS) as response:
            told = json.loads(response.read())["value"]
        if isinstance(told, dict) and "error" in told:
            raise AssertionError(told["message"])
        return told
