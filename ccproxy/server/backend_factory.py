"""The claude room put together from the operator's settings."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers, SharedAnswers
from ccproxy.claude.backend import ClaudeBackend
from ccproxy.claude.body.options import CLI_BETAS, ComposeOptions, for_environment
from ccproxy.claude.completion.composer import BodyComposer
from ccproxy.claude.installation.compose_mode import ComposeMode
from ccproxy.claude.installation.probe import CLIProber
from ccproxy.claude.models import Catalogue
from ccproxy.claude.observer import ClaudeObserver
from ccproxy.claude.schemas.checker import SchemaChecker
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.settings import Settings
from ccproxy.core.usage import RateWindow
from ccproxy.server.probe_results import FileFindings
from ccproxy.server.runtime import BETAS, Runtime

# What is remembered of the model's own messages; a loop of calls takes minutes.
_ANSWERS_BYTES = 64 * 1024 * 1024
_ANSWERS_SECONDS = 3600.0


def make_backend(
    settings: Settings,
    premises: Runtime,
    reactor: Any,
    *,
    observer: ClaudeObserver,
    limited: Callable[[Sequence[RateWindow]], None],
    shared: SharedAnswers,
) -> ClaudeBackend:
    """Make the backend for settings.

    Args:
        settings: the operator's.
        premises: opened before the backend is started.
        reactor: clock and spawner.
        observer: counts.
        limited: told how much of the subscription's limits is used.
        shared: where the model's own messages outlive the server, if they may.
    """
    catalogue = Catalogue(settings.model, settings.model_map, int(time.time()))
    answers = _answers(settings, shared)
    mode = ComposeMode(settings.compose)
    silent = CLIContext(
        spawner=reactor,
        clock=reactor,
        wall_seconds=time.time,
        limits=settings,
    )
    prober = CLIProber(
        silent,
        premises.probe_upstream,
        premises.isolated,
        asks=mode is ComposeMode.AUTO and not settings.agent_tools,
    )
    compose = for_environment(
        ComposeOptions(
            forward_sampling=settings.forward_sampling,
            forward_tool_choice=settings.forward_tool_choice,
            operator_body=premises.operator_body,
            betas=CLI_BETAS.union(BETAS),
        ),
        premises.environment,
    )
    return ClaudeBackend(
        settings,
        evolve(silent, observer=observer, on_limits=limited),
        premises,
        composer=BodyComposer(catalogue, answers, compose, reactor),
        checker=SchemaChecker(reactor, reactor),
        prober=prober,
        findings=FileFindings(settings.state_dir),
    )


def _answers(settings: Settings, shared: SharedAnswers) -> RememberedAnswers:
    """What is remembered of the model's own messages, and where."""
    limit_bytes = 0 if settings.remember == "off" else _ANSWERS_BYTES
    # A temporary folder goes with the server.
    lasts = settings.state_dir is not None or settings.database_url is not None
    return RememberedAnswers(
        InMemoryAnswers(limit_bytes, _ANSWERS_SECONDS),
        shared=shared if lasts and settings.remember == "store" else None,
    )
