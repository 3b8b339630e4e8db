"""The scripted CLIs, for commands that look at one."""

from tests.integration.claude.conftest import fake as fake
from tests.integration.claude.conftest import merging as merging
from tests.integration.claude.conftest import proxy as proxy
