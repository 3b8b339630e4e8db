"""An upstream that breaks off its answer, at any byte of it, on the real CLI.

``CCPROXY_RESETS=1`` tries every position; the suite has time for a few.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from ccproxy.demo import Reply
from tests.support.invariant import End, ask
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

WHOLE = "one two three"
STEP = int(os.environ.get("CCPROXY_RESETS", "0"))
