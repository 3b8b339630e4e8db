"""Runs the CLI as on the provider's own host, and checks its bodies.

On its own host the CLI says more of itself than on loopback. A variable makes it speak
so anywhere; it is none that a server hands to its CLIs, so a script in front of the
binary sets it.

Source: docs/claude-cli-protocol.md, "The provider's own host".
"""

import json
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

FIRST_PARTY = {"_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL": "1"}
_ATTRIBUTION = "x-anthropic-billing-header:"

# What the CLI sends by itself.
_OWN_KEYS = frozenset(
    {
        *("model", "messages", "system", "tools", "metadata", "max_tokens"),
        *("thinking", "context_management", "output_config", "stream"),
    }
)
# What a client may add.
_CLIENTS_KEYS = frozenset(
    {
        *("tool_choice", "stop_sequences", "temperature", "top_p", "top_k"),
        *("service_tier", "container", "mcp_servers", "inference_geo"),
    }
)
# Each field of the attribution, with the form of what it says of a first turn.
_FIELDS: Mapping[str, str] = {
    "cc_version": r"\d+\.\d+\.\d+(\.[0-9a-f]{3})?",
    "cc_entrypoint": r"sdk-cli",
    "cch": r"[0-9a-f]{5}",
    "cc_prompt_id": r"[0-9a-f-]{36}",
    "cc_turn_origin": r"sdk",
    "cc_prompt_index": r"0",
    "cc_turn_index": r"1",
}
_USER_KEYS = {"device_id", "account_uuid", "session_id"}


def write_wrapper(
    path: Path, claude: Path, environment: Mapping[str, str] = FIRST_PARTY
) -> Path:
    """Write a program that runs the CLI with some variables set; for ``--claude-bin``.

    Args:
        path: where; its folder has to be there.
        claude: the binary.
        environment: the variables, by default those of the provider's own host.
    """
    lines = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    path.write_text("\n".join(["#!/bin/sh", *lines, f'exec {claude} "$@"', ""]))
    path.chmod(0o755)
    return path


def unexpected_keys(
    body: Mapping[str, Any], *, allowed: Collection[str] = _CLIENTS_KEYS
) -> list[str]:
    """The keys of a body that reveal the machine, or another question.

    Looked at are the top level, the attribution in ``system[0]``, ``diagnostics`` and
    ``metadata``. A question is always the first turn of a conversation to the CLI, so
    nothing may refer to another.

    Args:
        body: of a request as it went upstream.
        allowed: the keys that the client may have sent.
    """
    found = sorted(set(body) - _OWN_KEYS - set(allowed) - {"diagnostics"})
    if body.get("diagnostics", {"previous_message_id": None}) != {
        "previous_message_id": None
    }:
        found.append("diagnostics")
    found.extend(_attribution(body.get("system")))
    found.extend(_user(body.get("metadata")))
    return found


def _attribution(system: Any) -> list[str]:
    text = system[0].get("text", "") if isinstance(system, list) and system else ""
    if not text.startswith(_ATTRIBUTION):
        return ["system.0"]
    pairs = text.removeprefix(_ATTRIBUTION).strip().rstrip(";").split(";")
    found = []
    for pair in pairs:
        name, _, value = pair.strip().partition("=")
        form = _FIELDS.get(name)
        if form is None or not re.fullmatch(form, value):
            found.append(f"system.0.{name}")
    return found


def _user(metadata: Any) -> list[str]:
    if not isinstance(metadata, Mapping) or set(metadata) != {"user_id"}:
        return ["metadata"]
    told = json.loads(metadata["user_id"])
    return [f"metadata.user_id.{key}" for key in sorted(set(told) - _USER_KEYS)]
