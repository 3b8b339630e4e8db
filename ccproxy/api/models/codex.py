"""The list of models in the format of the Codex CLI's catalogue. Pure.

Codex reads it from a file (``model_catalog_json``). It refuses a catalogue in which a
model lacks a required field. The size of the context is left out until the CLI has
reported it.

Source: ``ModelInfo`` in ``codex-rs/protocol/src/openai_models.rs`` of openai/codex; the
fields that Codex CLI 0.171.0 requires, found by leaving each out; fields that older
versions require.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ccproxy.core.backend import ModelEntry

# Without a text here, Codex would send no prompt of its own for the model.
_INSTRUCTIONS = (
    "You are a coding agent in the Codex CLI. You work in the user's workspace: read "
    "files, run commands and change files with your tools until the task is done. "
    "Follow the instructions of AGENTS.md files. Make the smallest change that solves "
    "the task, check it, and say briefly what you did and what is open."
)


class CodexEffort(msgspec.Struct, frozen=True):
    """An effort that the user can choose; the proxy sends the nearest valid effort."""

    effort: str
    description: str


class CodexTruncation(msgspec.Struct, frozen=True):
    """How Codex cuts long outputs of commands; the default of Codex."""

    mode: Literal["bytes", "tokens"] = "bytes"
    limit: int = 10_000


_EFFORTS = (
    CodexEffort("low", "Fast, with little thinking"),
    CodexEffort("medium", "Some thinking"),
    CodexEffort("high", "Much thinking"),
    CodexEffort("xhigh", "Very much thinking"),
)


class CodexModel(msgspec.Struct, kw_only=True):
    """A model in Codex's catalogue; ``context_window`` is in tokens."""

    slug: str
    display_name: str
    description: str | None = None
    supported_reasoning_levels: tuple[CodexEffort, ...] = _EFFORTS
    shell_type: str = "default"
    visibility: str = "list"
    supported_in_api: bool = True
    priority: int
    upgrade: None = None
    base_instructions: str = _INSTRUCTIONS
    supports_reasoning_summaries: bool = True
    support_verbosity: bool = False
    apply_patch_tool_type: str = "freeform"
    truncation_policy: CodexTruncation = CodexTruncation()
    supports_parallel_tool_calls: bool = True
    supports_image_detail_original: bool = False
    experimental_supported_tools: tuple[str, ...] = ()
    context_window: int | UnsetType = UNSET


class CodexCatalogue(msgspec.Struct):
    """All models; Codex shows them in the order of ``priority``."""

    models: list[CodexModel]


def codex_catalogue(models: Sequence[ModelEntry]) -> bytes:
    """Encode a `CodexCatalogue`."""
    return msgspec.json.encode(
        CodexCatalogue(
            [
                CodexModel(
                    slug=model.name,
                    display_name=model.name,
                    priority=number,
                    context_window=model.size.context_tokens or UNSET,
                )
                for number, model in enumerate(models)
            ]
        )
    )
