"""Hosts and origins that the server accepts, and the reach of a port."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.config.settings import Settings, SettingsError
from ccproxy.core.errors import CCProxyError, HostNotAllowed, InvalidRequest
from ccproxy.web.access import (
    AllowedHosts,
    Authenticator,
    CORSPolicy,
    check_keys,
    check_syntax,
    is_reachable,
    listened_names,
    own_names,
)
from ccproxy.web.head_checks import head_checks

# Host


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "app.localhost:1",
        "127.0.0.1",
        "127.8.9.1:65535",
        "[::1]",
        "[::1]:8080",
        "[fe80::1]",
        "192.168.1.7:8080",
        "localhost:",
    ],
)
def test_loopback_and_addresses_are_ours(host: str) -> None:
    AllowedHosts().check(b"/health", [host.encode()])


FOREIGN = [
    *(
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
    ),
    *("notlocalhost", "", ":8080", "[::1", "::1]", "[127.0.0.1]", "[evil]", "a b"),
    *("localhost:8080:9", "localhost:x", "localhost/evil", "evil@localhost", "*"),
    *("2130706433", "0x7f.1", "127.1", "localhost\0", "\xff", "x" * 300, "."),
]


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(HostNotAllowed, match="--allowed-hosts") as caught:
        AllowedHosts(["proxy.example"]).check(b"/", [host.encode("latin-1")])
    assert (caught.value.status, caught.value.code) == (403, "foreign_host")
    assert not host or host not in caught.value.message or host in "*."


@pytest.mark.parametrize(
    "host", ["Proxy.Example:80", "proxy.example.", "a.lan", "b.a.lan"]
)
def test_allowed_names_are_ours(host: str) -> None:
    assert AllowedHosts(["proxy.example:9", "*.lan"]).knows(host)
    assert not AllowedHosts().knows(host)


def test_a_pattern_does_not_stand_for_its_own_end() -> None:
    assert not AllowedHosts(["*.lan"]).knows("lan")
    assert not AllowedHosts(["*.lan"]).knows("evil-lan")


@given(st.text())
def test_a_star_is_anybody(host: str) -> None:
    assert AllowedHosts(["*"]).knows(host)


@given(st.lists(st.binary(max_size=40), max_size=3), st.binary(max_size=40))
def test_any_bytes_are_ours_or_refused(hosts: list[bytes], target: bytes) -> None:
    try:
        AllowedHosts().check(target, hosts)
    except CCProxyError as error:
        assert error.status == 403


# Werkzeug fails with a server error for these.
NO_HOSTS = ("a..localhost", ".localhost", "x" * 64 + ".localhost", "a\xad.localhost")


def test_one_host_header_is_demanded() -> None:
    for hosts in ([], [b"localhost", b"localhost"]):
        with pytest.raises(InvalidRequest, match="Host header"):
            check_syntax(b"HTTP/1.1", hosts)
    check_syntax(b"HTTP/1.0", [])


@pytest.mark.parametrize("host", [*NO_HOSTS, "a b", "localhost\0", "x." * 40 + "\xff"])
def test_header_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequest, match="neither a name nor an address"):
        check_syntax(b"HTTP/1.1", [host.encode("latin-1")])


@pytest.mark.parametrize(
    "host", ["localhost", "Under_score.example:80", "[::1]:8080", "127.0.0.1", "a.", ""]
)
def test_header_that_is_a_host_goes_on(host: str) -> None:
    check_syntax(b"HTTP/1.1", [host.encode()])


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/",
        b"HTTPS://evil.example:1",
        b"http://localhost@evil.example/",
    ],
)
def test_absolute_form_names_the_host_too(target: bytes) -> None:
    with pytest.raises(HostNotAllowed):
        AllowedHosts().check(target, [b"localhost"])
    with pytest.raises(HostNotAllowed):
        AllowedHosts().check(b"http://localhost/", [b"evil.example"])
    AllowedHosts().check(b"http://localhost:9/x", [b"127.0.0.1"])


def hosts_for(*listen: str, **options: object) -> AllowedHosts:
    settings = Settings(api_keys=("k",), listen=listen, **options)  # type: ignore[arg-type]  # each of its own type
    made = head_checks(
        settings, Authenticator(None, 1), CORSPolicy(), (), "box.home.example"
    )
    return made.hosts


def test_machines_own_names_count_when_others_can_reach_it() -> None:
    for name in ("box", "box.local", "box.home.example", "BOX:8080"):
        assert hosts_for("tcp:8080:interface=0.0.0.0").knows(name)
        assert not hosts_for("tcp:8080:interface=127.0.0.1").knows(name)
    assert not hosts_for("tcp:8080").knows("other.home.example")


def test_name_that_is_listened_on_is_ours() -> None:
    assert hosts_for("tcp:8080:interface=proxy.example").knows("proxy.example:8080")
    assert hosts_for("unix:/a", allowed_hosts=("x.example",)).knows("x.example")


# Origin


def test_nobody_is_told_anything_by_default() -> None:
    assert CORSPolicy().headers([b"https://chat.example"]) == {}
    told = CORSPolicy().preflight(
        [b"https://chat.example"], methods="POST", wanted=[], is_private=True
    )
    assert told == {}


def test_a_named_site_is_told_so_and_no_other() -> None:
    cors = CORSPolicy(["https://chat.example"])
    told = cors.headers([b"https://CHAT.example"])
    assert told["access-control-allow-origin"] == "https://CHAT.example"
    assert told["vary"] == "origin"
    assert "x-request-id" in told["access-control-expose-headers"]
    for other in (b"https://chat.example.evil", b"http://chat.example", b"null", b""):
        assert cors.headers([other]) == {"vary": "origin"}
    assert cors.headers([b"https://chat.example"] * 2) == {"vary": "origin"}
    assert cors.headers([]) == {"vary": "origin"}


def test_a_star_is_any_site() -> None:
    told = CORSPolicy(["*"]).headers([b"null"])
    assert told["access-control-allow-origin"] == "*"
    assert "vary" not in told
    assert "access-control-allow-credentials" not in told


def test_a_preflight_is_told_the_keys_header_by_name() -> None:
    told = CORSPolicy(["*"]).preflight(
        [b"https://a.example"],
        methods="GET, POST",
        wanted=[b"authorization,x-stainless-lang"],
        is_private=True,
    )
    assert told["access-control-allow-methods"] == "GET, POST"
    names = told["access-control-allow-headers"].replace(" ", "").split(",")
    assert {"authorization", "content-type", "x-stainless-lang"} <= set(names)
    assert told["access-control-allow-private-network"] == "true"


@given(st.binary(max_size=60))
def test_what_a_preflight_wants_cannot_make_headers(wanted: bytes) -> None:
    told = CORSPolicy(["*"]).preflight(
        [b"https://a.example"], methods="GET", wanted=[wanted], is_private=False
    )
    assert all(c.isprintable() and ord(c) < 127 for v in told.values() for c in v)
    assert "access-control-allow-private-network" not in told


# Reach


@pytest.mark.parametrize(
    ("endpoint", "reachable"),
    [
        ("tcp:8080:interface=127.0.0.1", False),
        (r"tcp:8080:interface=\:\:1", False),
        ("tcp:8080:interface=localhost", False),
        ("ssl:8443:privateKey=k.pem:interface=127.0.0.9", False),
        ("unix:/run/a.sock", False),
        ("tcp:8080", True),
        ("tcp:8080:interface=", True),
        ("tcp:8080:interface=0.0.0.0", True),
        (r"tcp:8080:interface=\:\:", True),
        ("tcp:8080:interface=box.example", True),
        ("systemd:domain=INET:index=0", True),
    ],
)
def test_reach(endpoint: str, reachable: bool) -> None:
    assert is_reachable(endpoint) is reachable


def test_names_of_endpoints() -> None:
    assert listened_names([r"tcp:1:interface=\:\:1:backlog=5", "tcp:1"]) == ["::1"]
    assert own_names("") == []


def test_a_short_key_is_for_the_loopback_only() -> None:
    short, long = "k" * 15, "k" * 16
    check_keys(["tcp:1:interface=127.0.0.1", "unix:a"], [short])
    check_keys(["tcp:1"], [long])
    with pytest.raises(SettingsError, match=r"--api-key: .*at least 16") as caught:
        check_keys(["unix:a", "tcp:1"], [long, short])
    assert short not in str(caught.value)
