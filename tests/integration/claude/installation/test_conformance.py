"""The probe of a binary: run once, stored, and repeated for a new binary."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import LogEvent, capturedLogs, formatEvent, globalLogPublisher

from ccproxy.claude.installation.checks import (
    QUESTIONS,
    difference_of_bodies,
    difference_of_models,
    difference_of_systems,
)
from ccproxy.claude.installation.compose_mode import BinaryVerdict
from ccproxy.claude.installation.contract import BEHAVIOURS, QUICK, Reaction
from ccproxy.claude.process.binary import identify
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
)
from ccproxy.server.probing import ProbeResultFile
from tests.conftest import ExpectedErrors
from tests.support.conformance_house import BAD, GOOD, House
from tests.support.log_texts import CLI_ENDED, CLI_UNUSABLE, OWN_REQUEST
from tests.support.server import RunningProxy
from tests.support.waiting import until

_REACTOR: Any = reactor


# What has to arrive


def arrived() -> list[dict[str, Any]]:
    """What a CLI that merges sends."""
    identity = {"type": "text", "text": "You are Claude Code."}
    return [
        {
            "model": question.model,
            "stream": True,
            "metadata": {"user_id": "u"},
            "system": [identity, {"type": "text", "text": question.system}],
            **msgspec.json.decode(question.json),
        }
        for question in QUESTIONS
    ]


def difference(bodies: list[Mapping[str, Any]] | list[dict[str, Any]]) -> str:
    """All differences."""
    found = (difference_of_bodies, difference_of_models, difference_of_systems)
    return ", ".join(filter(None, (of(bodies) for of in found)))


def test_what_has_arrived_as_it_was_set() -> None:
    assert difference(arrived()) == ""


def change(number: int, **fields: Any) -> list[dict[str, Any]]:
    bodies = arrived()
    bodies[number] |= fields
    return bodies


SYSTEM = [{"type": "text", "text": QUESTIONS[0].system}]


@pytest.mark.parametrize(
    ("bodies", "why"),
    [
        (change(0, model="claude-sonnet-4-5"), "the model"),
        (change(1, messages=[]), "`messages`"),
        (change(0, tools=[]), "`tools`"),
        (change(0, tool_choice={"type": "auto"}), "`tool_choice`"),
        (change(0, max_tokens=128000), "`max_tokens`"),
        (change(0, stop_sequences=[]), "`stop_sequences`"),
        (change(0, thinking={"type": "adaptive"}), "`thinking`"),
        (change(0, system=[]), "the system prompt"),
        (change(0, system=QUESTIONS[0].system), "the system prompt"),
        # Of the question before.
        (change(1, system=SYSTEM), "the system prompt"),
        (change(0, system=[*SYSTEM, *SYSTEM]), "arrives twice"),
        (
            change(1, system=[*SYSTEM, {"type": "text", "text": QUESTIONS[1].system}]),
            "arrives twice",
        ),
    ],
)
def test_what_has_not(bodies: list[Mapping[str, Any]], why: str) -> None:
    assert why in difference(bodies)


# Once for each binary


def test_everybody_waits_for_one_examination(house: House) -> None:
    house.conformance.start()
    told = [house.settle(), house.settle()]
    assert told == [[], []]
    assert house.conformance.check() is False
    assert len(house.probes) == 1
    house.probes[0].callback(GOOD)
    assert told == [[BinaryVerdict.MERGES], [BinaryVerdict.MERGES]]
    assert house.conformance.check() is True
    assert house.known == 1


def test_what_was_found_out_is_kept(house: House) -> None:
    house.settle()
    house.probes[0].callback(GOOD)
    another = House(house.binary.with_name("other"))
    another.binary.unlink()
    os.link(house.binary, another.binary)
    another.kept = house.kept
    # At another path it counts as another binary.
    another.settle()
    assert len(another.probes) == 1
    again = House.__new__(House)
    again = evolve(house, probes=[], known=0)
    house.kept[identify(house.binary)] = GOOD  # type: ignore[index]
    assert again.settle() == [BinaryVerdict.MERGES]
    assert again.probes == []


def test_one_that_does_not_merge_is_told_once(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("does not send bodies as they were set")
    told = house.settle()
    house.probes[0].callback(BAD)
    assert told == [BinaryVerdict.DIFFERS]
    assert house.conformance.why == "`messages` differs"
    with pytest.raises(ClaudeUnresponsive, match="was replaced"):
        house.conformance.check()
    assert house.settle() == [BinaryVerdict.DIFFERS]
    assert len(house.probes) == 1


def test_another_in_its_place_is_examined(house: House) -> None:
    house.settle()
    house.probes[0].callback(GOOD)
    house.binary.write_text("another")
    assert house.conformance.check() is False
    told = house.settle()
    assert told == []
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]


def test_the_examination_of_a_binary_that_was_replaced_does_not_count(
    house: House,
) -> None:
    told = house.settle()
    house.binary.write_text("another")
    house.settle()
    assert house.cancelled == 1
    assert told == []
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]
    assert list(house.kept) == [identify(house.binary)]


def test_without_an_answer_it_is_tried_again_later(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("could not be examined")
    told = house.settle()
    house.probes[0].errback(ClaudeFailed("it was killed"))
    house.probes[1].errback(ClaudeFailed("and again"))
    assert told == [BinaryVerdict.FAILED]
    assert house.kept == {}
    house.clock.advance(59)
    assert house.settle() == [BinaryVerdict.FAILED]
    assert len(house.probes) == 2
    house.clock.advance(2)
    # Nobody waits for that.
    assert house.settle() == [BinaryVerdict.FAILED]
    assert len(house.probes) == 3
    house.probes[2].callback(GOOD)
    assert house.settle() == [BinaryVerdict.MERGES]


def test_an_examination_that_was_killed_is_repeated_at_once(
    house: House,
) -> None:
    """Or all questions would be asked the slower way for a minute."""
    told = house.settle()
    house.probes[0].errback(ClaudeFailed("it was killed"))
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]


def test_one_that_is_too_old_is_asked_nothing(house: House) -> None:
    told = house.settle()
    house.probes[0].errback(ClaudeUnavailable("it is too old"))
    [error] = told
    assert isinstance(error, ClaudeUnavailable)
    [later] = house.settle()
    assert later.message == "it is too old"
    with pytest.raises(ClaudeUnavailable, match="too old"):
        house.conformance.check()
    house.binary.write_text("updated")
    told = house.settle()
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]


def test_one_that_is_too_old_in_the_place_of_a_good_one_is_told_once_in_the_log(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("it is too old")
    house.settle()
    house.probes[0].callback(GOOD)
    house.binary.write_text("older")
    with capturedLogs() as told:
        house.settle()
        for number in (1, 2):
            house.probes[number].errback(ClaudeUnavailable("it is too old"))
            house.clock.advance(60)
            house.settle()
    levels = [e["log_level"].name for e in told if "too old" in e.get("why", "")]
    assert levels == ["warn"]


def test_stop_ends_it(house: House) -> None:
    house.conformance.start()
    told = house.settle()
    house.conformance.stop()
    assert house.cancelled == 1
    assert told == [BinaryVerdict.UNKNOWN]
    assert house.settle() == [BinaryVerdict.UNKNOWN]
    house.conformance.start()
    assert len(house.probes) == 2


# On disk


def test_findings_are_kept_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    binary, other = BinaryID("/a", 1, 2, 1), BinaryID("/a", 1, 3, 1)
    ProbeResultFile(folder).save(binary, GOOD)
    # Of a server that was killed while it wrote, and of one that writes now.
    unfinished, begun = [
        folder / f"claude-binaries.json.{pid}" for pid in (999_999_999, os.getppid())
    ]
    unfinished.touch()
    begun.touch()
    ProbeResultFile(folder).save(other, BAD)
    assert (unfinished.exists(), begun.exists()) == (False, True)
    assert ProbeResultFile(folder).load(binary) == GOOD
    assert ProbeResultFile(folder).load(other) == BAD
    assert ProbeResultFile(folder).load(BinaryID("/b", 1, 2, 1)) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff"])
def test_what_cannot_be_read_is_found_out_anew(tmp_path: Path, text: bytes) -> None:
    ProbeResultFile(tmp_path).save(BinaryID("/a", 1, 2, 1), GOOD)
    [path] = tmp_path.iterdir()
    path.write_bytes(text)
    assert ProbeResultFile(tmp_path).load(BinaryID("/a", 1, 2, 1)) is None
    ProbeResultFile(tmp_path).save(BinaryID("/a", 1, 2, 1), GOOD)
    assert ProbeResultFile(tmp_path).load(BinaryID("/a", 1, 2, 1)) == GOOD


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    probe_results = ProbeResultFile(tmp_path)
    for number in range(30):
        probe_results.save(BinaryID("/a", 1, number, 1), GOOD)
    assert probe_results.load(BinaryID("/a", 1, 9, 1)) is None
    assert probe_results.load(BinaryID("/a", 1, 10, 1)) == GOOD


def test_a_disk_that_is_full_is_no_reason_to_fail(
    tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("cannot store the result")
    (tmp_path / "state").write_text("a file")
    ProbeResultFile(tmp_path / "state").save(BinaryID("/a", 1, 2, 1), GOOD)
    ProbeResultFile(None).save(BinaryID("/a", 1, 2, 1), GOOD)
    assert ProbeResultFile(None).load(BinaryID("/a", 1, 2, 1)) is None


# Binaries, run as real children


@pytest.fixture
def proxy(proxy: Callable[..., RunningProxy]) -> Callable[..., RunningProxy]:
    """Starts servers that find out by themselves how to ask."""
    return lambda **options: proxy(**{"compose": "auto", **options})


Start = Callable[..., RunningProxy]
Make = Callable[[str], Path]


async def way(server: RunningProxy) -> tuple[str, str]:
    status = await server.backend.status()
    return status.composer, status.why_native


@ensureDeferred
async def test_a_binary_that_merges(proxy: Start, merging: Make) -> None:
    server = proxy(claude_bin=merging("merges"))
    await server.ready()
    assert await way(server) == ("body", "")
    assert "ccproxy_native_composer 0.0\n" in await metrics(server)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("not", "`messages` differs"),
        ("half", "`messages` differs"),
        ("twice", "2 questions became 4 requests"),
    ],
)
@ensureDeferred
async def test_one_that_does_not_merge(
    proxy: Start,
    merging: Make,
    expected_errors: ExpectedErrors,
    how: str,
    why: str,
) -> None:
    expected_errors.allow("does not send bodies as they were set")
    server = proxy(claude_bin=merging(how))
    await server.ready()
    composer, told = await way(server)
    assert composer == "native"
    assert why in told
    ready = await server.get("/ready")
    document = await ready.json()
    assert document["claude"]["composer"] == "native"
    assert why in document["claude"]["why_native"]
    assert "ccproxy_native_composer 1.0\n" in await metrics(server)


async def metrics(server: RunningProxy) -> str:
    text: str = await (await server.get("/metrics")).text()
    return text


@pytest.mark.parametrize("how", ["old", "2.1.248"])
@ensureDeferred
async def test_one_that_is_too_old_is_told_and_given_nothing(
    proxy: Start,
    merging: Make,
    upstream: Any,
    expected_errors: ExpectedErrors,
    how: str,
) -> None:
    expected_errors.allow(CLI_UNUSABLE)
    server = proxy(claude_bin=merging(how))
    response = await server.chat("secret")
    assert response.code == 503
    error = (await response.json())["error"]
    assert "needs 2.1." in error["message"]
    assert upstream.bodies == []


@ensureDeferred
async def test_so_is_one_that_is_put_in_the_place_of_another(
    proxy: Start, merging: Make, upstream: Any, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("requests fail until the CLI")
    server = proxy(claude_bin=merging("merges"), spares=0, max_processes=1)
    assert (await server.chat("hello")).code == 200
    merging("old")
    # The one that runs is still good; for a question without system prompt it is not,
    # once it has had one.
    system = {"role": "system", "content": "Be brief."}
    assert (await server.chat(system, "hello")).code in (200, 503)
    asked = len(upstream.bodies)
    response = await server.chat("secret")
    assert response.code == 503
    assert len(upstream.bodies) == asked


@ensureDeferred
async def test_one_that_cannot_be_examined_is_asked_natively(
    proxy: Start, merging: Make, expected_errors: ExpectedErrors
) -> None:
    for text in ("could not be examined", CLI_ENDED):
        expected_errors.allow(text)
    server = proxy(claude_bin=merging("dies"))
    await server.ready()
    composer, told = await way(server)
    assert composer == "native"
    assert "could not be examined" in told


@ensureDeferred
async def test_a_login_whose_program_would_have_the_body(
    proxy: Start, merging: Make
) -> None:
    server = proxy(claude_bin=merging("helper"))
    await server.ready()
    composer, why = await way(server)
    assert composer == "native"
    assert "apiKeyHelper" in why


# Real ones, between colons: those that are too old to be asked anything.
OLD = [path for path in os.environ.get("CCPROXY_OLD_CLAUDES", "").split(":") if path]


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize("compose", ["auto", "body", "native"])
@ensureDeferred
async def test_a_real_one_that_is_too_old_in_the_place_of_another(
    proxy: Start,
    claude: Path,
    upstream: Any,
    tmp_path: Path,
    expected_errors: ExpectedErrors,
    compose: str,
    old: str,
) -> None:
    expected_errors.allow(CLI_UNUSABLE)
    binary = tmp_path / "claude"
    binary.symlink_to(claude)
    server = proxy(claude_bin=binary, compose=compose, spares=0)
    await server.ready()
    assert (await server.chat("hello")).code == 200
    binary.unlink()
    binary.symlink_to(old)
    await server.idle()
    asked = len(upstream.bodies)
    for _ in range(2):
        response = await server.chat("@/etc/hostname and a secret")
        document = await response.json()
        assert response.code == 503
        assert "needs 2.1." in document["error"]["message"]
    assert len(upstream.bodies) == asked
    binary.unlink()
    binary.symlink_to(claude)
    assert (await server.chat("hello")).code == 200


@pytest.mark.parametrize(
    ("compose", "how", "composer"),
    [("body", "not", "body"), ("native", "merges", "native")],
)
@ensureDeferred
async def test_the_operator_has_the_last_word(
    proxy: Start, merging: Make, compose: str, how: str, composer: str
) -> None:
    server = proxy(claude_bin=merging(how), compose=compose)
    await server.ready()
    assert (await way(server))[0] == composer


@ensureDeferred
async def test_each_binary_is_asked_once(
    proxy: Start, merging: Make, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    binary = merging("merges")
    server = proxy(claude_bin=binary, state_dir=state)
    await server.examined()
    await server.stop()
    again = proxy(claude_bin=binary, state_dir=state)
    # Without a process.
    assert again.backend._conformance.verdict is BinaryVerdict.MERGES


@ensureDeferred
async def test_the_real_one_merges(proxy: Start) -> None:
    server = proxy()
    began = _REACTOR.seconds()
    await server.ready()
    assert await way(server) == ("body", "")
    assert _REACTOR.seconds() - began < 60


@ensureDeferred
async def test_no_real_credentials_are_near(
    proxy: Start, merging: Make, upstream: Any
) -> None:
    server = proxy(
        claude_bin=merging("merges"),
        environment={
            "ANTHROPIC_API_KEY": "sk-ant-real",
            "CLAUDE_CODE_OAUTH_TOKEN": "real",
            "CLAUDE_CONFIG_DIR": "/real",
            "AWS_SECRET_ACCESS_KEY": "real",
        },
    )
    runtime: Any = server.service._proxy._runtime
    isolated = runtime.isolated(runtime.worker(), "http://127.0.0.1:1")
    assert not any("real" in value for value in isolated.environment.values())
    assert isolated.environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    await server.ready()
    # What it was asked for that went to nobody else.
    assert upstream.bodies == []


@ensureDeferred
async def test_what_was_given_in_vain_is_told_once(
    proxy: Start,
    merging: Make,
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("it has no effect")
    told: list[str] = []

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "no effect" in text:
            told.append(text)

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        server = proxy(claude_bin=merging("merges"), reuse="rewind", max_suspended=5)
        for text in ("one", "two"):
            assert (await server.chat(text)).code == 200
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [text.partition(":")[0] for text in told] == ["--reuse", "--max-suspended"]


# A CLI that lacks one behaviour


@pytest.mark.parametrize("name", sorted(QUICK))
@ensureDeferred
async def test_one_that_lacks_a_behaviour(
    proxy: Start,
    merging: Make,
    upstream: Any,
    expected_errors: ExpectedErrors,
    name: str,
) -> None:
    """It is noticed, and the proxy does what the contract says."""
    behaviour = BEHAVIOURS[name]
    texts = {
        Reaction.REFUSED: "is not safe to use",
        Reaction.NATIVE: "does not send bodies as they were set",
    }
    expected_errors.allow(texts.get(behaviour.reaction, f"falls short in {name}"))
    if name in ("one_request", "end_max_tokens"):
        expected_errors.allow(OWN_REQUEST)
    server = proxy(claude_bin=merging(f"lacks:{name}"))
    with suppress(CCProxyError):
        await server.examined()
    await until(lambda: not server.backend._conformance.is_examining)
    ready = await server.get("/ready")
    about = (await ready.json())["claude"]
    assert (about["conformance"], about["falls_short_in"]) == ("falls_short", [name])
    assert about["version"] == "2.1.332"
    told = await metrics(server)
    assert f'ccproxy_cli_missing_behaviour{{behaviour="{name}"}} 1.0\n' in told
    assert 'ccproxy_cli_conformance{standing="falls_short"} 1.0\n' in told
    is_native = behaviour.reaction is Reaction.NATIVE
    assert about["composer"] == ("native" if is_native else "body")
    response = await server.chat("hello")
    if behaviour.reaction is Reaction.REFUSED:
        error = (await response.json())["error"]
        assert (response.code, error["code"]) == (503, "claude_unavailable")
        assert "a file that the text names was sent" in error["message"]
        assert upstream.bodies == []
    else:
        assert response.code == 200
        assert len(upstream.bodies) == 1


@ensureDeferred
async def test_one_that_lacks_nothing(
    proxy: Start, merging: Make, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    server = proxy(claude_bin=merging("merges"), state_dir=state)
    await server.examined()
    about = (await (await server.get("/ready")).json())["claude"]
    assert (about["conformance"], about["falls_short_in"]) == ("tested", [])
    assert 'ccproxy_cli_conformance{standing="tested"} 1.0\n' in await metrics(server)


@pytest.mark.parametrize("compose", ["auto", "body"])
@ensureDeferred
async def test_one_that_does_not_know_the_error_log(
    proxy: Start, merging: Make, expected_errors: ExpectedErrors, compose: str
) -> None:
    """It is started without the option."""
    for text in ("unknown option", "falls short in error_log"):
        expected_errors.allow(text)
    server = proxy(claude_bin=merging("no-flag"), compose=compose)
    assert (await server.chat("hello")).code == 200
    await server.examined()
    about = (await (await server.get("/ready")).json())["claude"]
    assert (about["answers"], about["composer"]) == (True, "body")
    assert about["falls_short_in"] == ["error_log"]


@ensureDeferred
async def test_one_that_keeps_its_questions(
    proxy: Start, merging: Make, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("a process cannot be asked again after its answer")
    server = proxy(claude_bin=merging("keeps"))
    await server.ready()
    composer, why = await way(server)
    assert composer == "native"
    assert "cannot be asked again" in why
