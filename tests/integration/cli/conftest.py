"""The scripted CLIs, for commands that inspect a CLI."""

from tests.integration.claude.conftest import fake as fake
from tests.integration.claude.conftest import merging as merging
from tests.integration.claude.conftest import proxy as proxy
