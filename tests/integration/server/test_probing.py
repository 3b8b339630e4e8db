"""The API of an examination answers the examined CLI only."""

from typing import Any

import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.server.probing import ProbeUpstream

_REACTOR: Any = reactor
BODY = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hello"}],
}


@ensureDeferred
async def test_requests_of_other_programs_are_no_part_of_an_examination() -> None:
    upstream = ProbeUpstream(_REACTOR)
    url = upstream.listen()
    try:
        origin = url.rpartition("/")[0]
        for other in (origin, f"{origin}/x", f"{origin}/{'0' * 64}"):
            refused = await treq.post(
                f"{other}/v1/messages", json=BODY, persistent=False
            )
            await refused.content()
            assert refused.code == 404
        assert not upstream.bodies
        answered = await treq.post(f"{url}/v1/messages", json=BODY, persistent=False)
        await answered.content()
        assert answered.code == 200
        assert upstream.bodies == [BODY]
    finally:
        await upstream.close()
