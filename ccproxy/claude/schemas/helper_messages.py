"""The messages between the server and a helper process: one JSON object per line. Pure.

The helper first sends READY. For each request, it sends BEGUN when it has read the
request, and later the outcome. The server sends one request at a time.
"""

from enum import Enum

import msgspec


class HelperOutcome(Enum):
    """The state or outcome of a request."""

    READY = "ready"
    BEGUN = "begun"
    # The schema can be used. The instance, if there is one, satisfies the schema.
    VALID = "valid"
    INVALID = "invalid"
    # The schema cannot be used.
    REFUSED = "refused"
    # The helper ran out of memory.
    MEMORY = "memory"
    # Nested too deeply for the stack, or an unforeseen error.
    FAILED = "failed"


class HelperRequest(msgspec.Struct, omit_defaults=True):
    """Compile a schema, and check an instance if there is one.

    Attributes:
        schema: JSON.
        seconds: the time limit; the server kills the helper after it.
        instance: JSON; None: compile only.
    """

    schema: str
    seconds: float
    instance: str | None = None


class HelperAnswer(msgspec.Struct, omit_defaults=True):
    """The answer to a request.

    Attributes:
        outcome: the request's outcome.
        why: the reason, as a sentence without full stop.
        path: the place in a refused schema, such as ``properties.a.pattern``.
    """

    outcome: HelperOutcome
    why: str = ""
    path: str = ""
