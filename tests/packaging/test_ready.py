"""``ccproxy ready`` as a container's health check runs it."""

import re
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pytest_twisted import ensureDeferred
from typing_extensions import override

from ccproxy.api.admin.documents import status_document
from ccproxy.core.backend import Status
from tests.packaging.commands import CCPROXY, Running, get, run
from tests.packaging.conftest import Call
from tests.support.docs import ROOT
from tests.support.waiting import until

KEY = "a-secret-key-of-a-test"


@ensureDeferred
async def test_every_address_of_a_server(
    tmp_path: Path, start: Callable[..., Running], claude_bin: str, call: Call
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-subj", "/CN=proxy", "-keyout", str(key), "-out", str(certificate)]
    assert run(*command, cwd=tmp_path).returncode == 0
    tls = f"privateKey={key}:certKey={certificate}"
    path = f"unix:{tmp_path}/socket"
    server = start(
        *(CCPROXY, "--listen", path, "--listen", f"ssl:0:{tls}"),
        *("--listen", "tcp:0:interface=0.0.0.0", "--listen", r"tcp:0:interface=\:\:1"),
        CLAUDE_BIN=claude_bin,
        PROXY_API_KEY=KEY,
    )
    await until(lambda: "listens on" in server.output or server.is_over)
    urls = re.findall(r"(https?)://(\S+):(\d+)/v1", server.output)
    ports = {(scheme, "[" in host): port for scheme, host, port in urls}
    open_port = ports["http", False]

    def ready(*flags: str, key: str = KEY) -> tuple[int, str, str]:
        done = call("ccproxy", "ready", *flags, PROXY_API_KEY=key)
        return done.returncode, done.stdout, done.stderr

    body = b""
    while b"200 OK" not in body:
        body = await get(f":{open_port}", "/ready", authorization=f"Bearer {KEY}")
    for flags in (
        [f"--listen={path}"],
        [f"--listen=ssl:{ports['https', False]}:{tls}"],
        ["--host=0.0.0.0", f"--port={open_port}"],
        ["--host=::1", f"--port={ports['http', True]}"],
    ):
        assert ready(*flags) == (0, "ready\n", "")
    status, out, error = ready(f"--port={open_port}", key="another-key")
    assert (status, out) == (1, "")
    assert error.startswith("ccproxy ready: status 401: ")
    assert error.count("\n") == 1


NO_LOGIN = Status(
    answers=True,
    version="2.1.332",
    is_logged_in=False,
    login=None,
    account=None,
    subscription=None,
)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(
            503,
            status_document(NO_LOGIN, storage_failed=False),
            "the claude CLI is not logged in; `ccproxy doctor` says how to log in",
            id="no login",
        ),
        pytest.param(
            *(200, b"<html>", "the server that answers is not ccproxy: status 200"),
            id="another server",
        ),
    ],
)
def test_server_that_is_not_ready(
    call: Call, status: int, body: bytes, words: str
) -> None:
    class Handler(BaseHTTPRequestHandler):
        @override
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        done = call(
            "ccproxy", "ready", f"--port={server.server_port}", PROXY_API_KEY=KEY
        )
        thread.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ccproxy ready: {words}\n"


def test_no_server(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = call("ccproxy", "ready", f"--port={port}", PROXY_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"ccproxy ready: no server answers at http://127.0.0.1:{port}: "
    )


@pytest.mark.parametrize(
    ("flags", "key", "words"),
    [
        (["--listen=systemd:domain=INET:index=0"], KEY, "systemd opens the socket"),
        (["--port=0"], KEY, "has no fixed port"),
        ([], "", "no key is set"),
    ],
)
def test_address_that_cannot_be_asked(
    call: Call, flags: list[str], key: str, words: str
) -> None:
    done = call("ccproxy", "ready", *flags, PROXY_API_KEY=key)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ccproxy ready: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_it_does_not_load_the_server() -> None:
    """Health checks start the command twice a minute."""
    script = (
        "import sys; from ccproxy.cli.commands import load; "
        "load(['ccproxy', 'ready']); print(*sys.modules)"
    )
    done = run(sys.executable, "-c", script, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "ccproxy.cli.ready" in loaded
    heavy = {"klein", "sqlalchemy", "twisted.internet.ssl", "ccproxy.server.service"}
    assert not heavy & loaded
