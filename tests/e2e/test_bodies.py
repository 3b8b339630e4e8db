"""Every valid request reaches the provider as the client sent it, on the real CLI.

For each API, in any order over three processes, some at once: the body that the
provider gets equals the request by a comparison that was written from the APIs'
documents; what does not is named, and nothing else is. One request goes up for each
question, none that the provider refuses, and what the CLI says of itself stays its own.

``CCPROXY_BODIES=300`` has 300 requests an API, others in each run; without it, each run
has the same. ``CCPROXY_TEST_CLAUDE=PATH`` names another CLI.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.support.blocking import in_greenlet
from tests.support.bodies import CHAT, MESSAGES, RESPONSES, Api, Bench, Sent
from tests.support.first_party import FIRST_PARTY, write_wrapper
from tests.support.messages_requests import MODEL_MAP
from tests.support.providers_host import HOST, ProvidersHost
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]

_REACTOR: Any = reactor

# What holds for an account: its policies and settings.
_ACCOUNTS = "GET /api/claude_code/"

EXAMPLES = int(os.environ.get("CCPROXY_BODIES", "10"))
SHARED: dict[str, Any] = {"spares": 0, "max_processes": 3, "model_map": MODEL_MAP}
_SLOW = tuple(HealthCheck)
# Making an example smaller would take minutes; the failure shows it as it is.
_PHASES = (Phase.explicit, Phase.generate)


async def run(bench: Bench, *apis: Api) -> None:
    """Try many examples: some requests at once, of any of these APIs."""
    await bench.learn()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=_SLOW,
        phases=_PHASES,
        report_multiple_bugs=False,
    )
    @given(bench.batches(*apis))
    def check(batch: list[Sent]) -> None:
        # Of requests there are more than of examples.
        if bench.asked < EXAMPLES:
            blockon(Deferred.fromCoroutine(bench.check(batch)))

    await in_greenlet(check)
    assert bench.asked >= EXAMPLES
    await bench.server.settled()
    assert bench.server.starts > 1


@pytest.mark.parametrize("api", [MESSAGES, CHAT, RESPONSES], ids=lambda api: api.path)
@ensureDeferred
async def test_a_request_goes_up_as_it_was_sent(
    proxy: Start, upstream: Upstream, api: Api
) -> None:
    await run(Bench(proxy(**SHARED), upstream), api)


@pytest.fixture
def providers_host(tmp_path: Path) -> Iterator[ProvidersHost]:
    host = ProvidersHost.start(_REACTOR, tmp_path)
    yield host
    blockon(host.port.stopListening())


@ensureDeferred
async def test_on_the_providers_own_host_it_says_nothing_of_others(
    proxy: Start,
    upstream: Upstream,
    claude: Path,
    providers_host: ProvidersHost,
    tmp_path: Path,
) -> None:
    """Nor does it ask anything there but what holds for the account."""
    variables = {**FIRST_PARTY, **providers_host.environment}
    wrapper = write_wrapper(tmp_path / "claude", claude, variables)
    server = proxy(claude_bin=wrapper, **SHARED)
    await run(Bench(server, upstream), MESSAGES, CHAT, RESPONSES)
    asked = set(providers_host.asked) - {f"CONNECT {HOST}:443 HTTP/1.1"}
    assert [line for line in asked if not line.startswith(_ACCOUNTS)] == []
