"""The catalogue of models for the Codex CLI."""

import json

from ccproxy.api.models.codex import codex_catalogue
from ccproxy.core.backend import ModelEntry, ModelSize

# Codex CLI 0.171.0 refuses a catalogue in which a model lacks one of these.
REQUIRED = {
    "slug": str,
    "display_name": str,
    "supported_reasoning_levels": list,
    "shell_type": str,
    "visibility": str,
    "supported_in_api": bool,
    "priority": int,
    "support_verbosity": bool,
    "truncation_policy": dict,
    "experimental_supported_tools": list,
    "base_instructions": str,
}
# Required by older versions, from 0.9x on.
OLDER = {"supports_reasoning_summaries": bool, "supports_parallel_tool_calls": bool}


def test_every_model_has_what_codex_requires() -> None:
    known = ModelSize(context_tokens=200_000, output_tokens=64_000)
    entries = [
        ModelEntry(name="sonnet", since_seconds=1),
        ModelEntry(name="claude-opus-5-5", since_seconds=1, size=known),
    ]
    models = json.loads(codex_catalogue(entries))["models"]
    for model in models:
        for name, kind in {**REQUIRED, **OLDER}.items():
            assert isinstance(model[name], kind), name
        assert model["base_instructions"]
        assert {e["effort"] for e in model["supported_reasoning_levels"]} <= {
            *("none", "minimal", "low", "medium", "high", "xhigh"),
        }
    assert [model["slug"] for model in models] == ["sonnet", "claude-opus-5-5"]
    assert [model["priority"] for model in models] == [0, 1]
    assert "context_window" not in models[0]
    assert models[1]["context_window"] == 200_000
