"""Makes the `ClaudeBackend` from the settings."""

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
from ccproxy.server.probing import ProbeResultFile
from ccproxy.server.runtime import BETAS, Runtime

# Limits of the remembered answers in memory. A loop of tool calls takes minutes.
_ANSWERS_BYTES = 64 * 1024 * 1024
_ANSWERS_SECONDS = 3600.0


def make_backend(
    settings: Settings,
    runtime: Runtime,
    reactor: Any,
    *,
    observer: ClaudeObserver,
    on_limits: Callable[[Sequence[RateWindow]], None],
    stored_answers: SharedAnswers,
) -> ClaudeBackend:
    """Make the backend.

    Args:
        settings: the operator's settings.
        runtime: must be open before the backend is started.
        reactor: starts processes, and is the clock.
        observer: notified of processes and answers.
        on_limits: called with the subscription's rate limits and how far each is used.
        stored_answers: the remembered answers in the database.
    """
    catalogue = Catalogue(settings.model, settings.model_map, int(time.time()))
    answers = _answers(settings, stored_answers)
    mode = ComposeMode(settings.compose)
    silent = CLIContext(
        spawner=reactor,
        clock=reactor,
        wall_seconds=time.time,
        limits=settings,
    )
    prober = CLIProber(
        silent,
        runtime.probe_upstream,
        runtime.isolated,
        sends_questions=mode is ComposeMode.AUTO and not settings.agent_tools,
    )
    compose = for_environment(
        ComposeOptions(
            forward_sampling=settings.forward_sampling,
            forward_tool_choice=settings.forward_tool_choice,
            server_tools=settings.server_tools,
            operator_body=runtime.operator_body,
            betas=CLI_BETAS.union(BETAS),
        ),
        runtime.environment,
    )
    return ClaudeBackend(
        settings,
        evolve(silent, observer=observer, on_limits=on_limits),
        runtime,
        composer=BodyComposer(catalogue, answers, compose, reactor),
        checker=SchemaChecker(reactor, reactor),
        prober=prober,
        probe_results=ProbeResultFile(settings.state_dir),
    )


def _answers(settings: Settings, stored: SharedAnswers) -> RememberedAnswers:
    """The remembered answers, as set by ``--remember``."""
    limit_bytes = 0 if settings.remember == "off" else _ANSWERS_BYTES
    # A database in the runtime directory is deleted when the server stops.
    lasts = settings.state_dir is not None or settings.database_url is not None
    return RememberedAnswers(
        InMemoryAnswers(limit_bytes, _ANSWERS_SECONDS),
        shared=stored if lasts and settings.remember == "store" else None,
    )
