"""What the CLI's processes inherit."""

from typing import Any

import pytest

from ccproxy.config.settings import Settings
from ccproxy.server.runtime import Runtime

TTL = "CLAUDE_CODE_PROMPT_CACHE_TTL"


@pytest.mark.parametrize(
    ("option", "variable", "inherited"),
    [(None, None, None), (None, "5m", "5m"), ("1h", None, "1h"), ("1h", "5m", "1h")],
)
def test_the_option_of_the_cache_goes_before_the_clis_variable(
    option: str | None, variable: str | None, inherited: str | None
) -> None:
    environment = {} if variable is None else {TTL: variable}
    reactor: Any = None
    runtime = Runtime(Settings(api_keys=("k",), cache_ttl=option), reactor, environment)
    assert runtime.environment.get(TTL) == inherited
