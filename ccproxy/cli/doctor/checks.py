"""Runs all checks of ``ccproxy doctor``."""

from collections.abc import Callable, Mapping
from typing import Any

from ccproxy.cli.distribution import conflict_message, conflicting_distributions
from ccproxy.cli.doctor.claude import CLI, examine_binary, skipped_session
from ccproxy.cli.doctor.ports import examine_endpoint
from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.cli.doctor.storage import examine_database, examine_state
from ccproxy.config.settings import Settings
from ccproxy.server.runtime import Runtime
from ccproxy.web.endpoints import is_inherited
from ccproxy.web.server import endpoint_of

_NO_KEY = (
    "choose a secret and set PROXY_API_KEY to it, or use --api-key-file; without a "
    "key the server does not start"
)


async def examine(
    reactor: Any,
    settings: Settings,
    environment: Mapping[str, str],
    report: Callable[[CheckResult], None],
    *,
    asks: bool,
) -> None:
    """Run all checks; each result is reported as soon as it is known.

    On cancel: the CLI is stopped, and its directory is removed.

    Args:
        reactor: listens, connects, and starts the CLI.
        settings: the server's settings; ``api_keys`` may be empty.
        environment: CLI processes inherit those variables that an allow-list names.
        report: called with each result.
        asks: whether to send one real request to the model.

    Raises:
        SettingsError: an endpoint string is not valid.
    """
    for text in settings.endpoints:
        if not is_inherited(text):
            endpoint_of(reactor, text)
    conflicting = conflicting_distributions()
    if conflicting:
        message = conflict_message(conflicting)
        report(CheckResult(CheckStatus.WRONG, "package", message))
    report(_key(settings))
    binary = examine_binary(settings, environment)
    report(binary)
    state = examine_state(settings)
    report(state)
    if state.status is CheckStatus.WRONG:
        report(
            CheckResult(
                CheckStatus.SKIPPED,
                "database",
                "the directory of the database cannot be used",
            )
        )
    else:
        report(examine_database(settings))
    for text in settings.endpoints:
        report(await examine_endpoint(reactor, text))
    if binary.status is not CheckStatus.OK:
        for result in skipped_session(asks=asks):
            report(result)
        return
    runtime = Runtime(settings, reactor, environment)
    runtime.open()
    try:
        cli = CLI(settings, runtime, reactor, environment)
        async for result in cli.examine(asks=asks):
            report(result)
    finally:
        await runtime.close()


def _key(settings: Settings) -> CheckResult:
    count = len(settings.api_keys)
    if not count:
        return CheckResult(
            CheckStatus.WRONG, "key", "no key is set for the clients", _NO_KEY
        )
    return CheckResult(CheckStatus.OK, "key", f"{count} set for the clients")
