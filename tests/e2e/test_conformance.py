"""``ccproxy conformance`` on the real CLI."""

import json
import sys
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

from ccproxy.claude.installation.contract import CONTRACT

_REACTOR: Any = reactor


@ensureDeferred
async def test_the_real_cli_has_every_behaviour(claude: Path, tmp_path: Path) -> None:
    """Behaviours that are newer than the version do not count."""
    script = "from ccproxy.cli.entry import main; main()"
    command = ("-c", script, "conformance", "--json", "--claude-bin", str(claude))
    out, err, status = await getProcessOutputAndValue(
        sys.executable,
        command,
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        reactor=_REACTOR,
    )
    assert (status, err) == (0, b"")
    document = json.loads(out)
    assert "missing" not in {each["verdict"] for each in document["checks"]}
    assert len(document["checks"]) == len(CONTRACT)
    assert document["version"] is not None
