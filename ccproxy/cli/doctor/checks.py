"""Everything that is looked at, in the order in which a server would need it."""

from collections.abc import Callable, Mapping
from typing import Any

from ccproxy.cli.doctor.claude import CLI, examine_binary, skipped_session
from ccproxy.cli.doctor.ports import examine_endpoint
from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.cli.doctor.storage import examine_database, examine_state
from ccproxy.config.settings import Settings
from ccproxy.server.runtime import Runtime
from ccproxy.web.listen import endpoint_of, is_inherited

_NO_KEY = (
    "choose a secret and set PROXY_API_KEY to it, or use --api-key-file; without one "
    "the server does not start"
)


async def examine(
    reactor: Any,
    settings: Settings,
    environment: Mapping[str, str],
    tell: Callable[[CheckResult], None],
    *,
    asks: bool,
) -> None:
    """Look at everything; each verdict is told when it is found.

    On cancel: what was started is taken away again.

    Args:
        reactor: listens, connects, and starts the CLI.
        settings: what the server would be given; ``api_keys`` may be empty.
        environment: what the CLI may inherit of, by an allow-list.
        tell: takes the verdicts, one after the other.
        asks: whether one real question is put to the model.

    Raises:
        SettingsError: an endpoint string that Twisted does not understand.
    """
    for text in settings.endpoints:
        if not is_inherited(text):
            endpoint_of(reactor, text)
    tell(_key(settings))
    binary = examine_binary(settings, environment)
    tell(binary)
    state = examine_state(settings)
    tell(state)
    if state.level is CheckStatus.WRONG:
        tell(
            CheckResult(CheckStatus.SKIPPED, "database", "there is no directory for it")
        )
    else:
        tell(examine_database(settings))
    for text in settings.endpoints:
        tell(await examine_endpoint(reactor, text))
    if binary.level is not CheckStatus.OK:
        for verdict in skipped_session(asks=asks):
            tell(verdict)
        return
    runtime = Runtime(settings, reactor, environment)
    runtime.open()
    try:
        cli = CLI(settings, runtime, reactor)
        async for verdict in cli.examine(asks=asks):
            tell(verdict)
    finally:
        await runtime.close()


def _key(settings: Settings) -> CheckResult:
    count = len(settings.api_keys)
    if not count:
        return CheckResult(
            CheckStatus.WRONG, "key", "no key is set for the clients", _NO_KEY
        )
    return CheckResult(CheckStatus.OK, "key", f"{count} set for the clients")
