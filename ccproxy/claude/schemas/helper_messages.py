"""What the server and a helper process say to each other, a JSON object a line. Pure.

The helper answers each request with BEGUN, when it has read it, and with one of the
others, when it is done; READY comes before all requests. There is one request at a
time.
"""

from enum import Enum

import msgspec


class HelperOutcome(Enum):
    """What became of a request."""

    READY = "ready"
    BEGUN = "begun"
    # The schema can be used, and the instance, if there is one, satisfies it.
    VALID = "valid"
    INVALID = "invalid"
    # The schema cannot be used.
    REFUSED = "refused"
    MEMORY = "memory"
    # Nested more deeply than the stack is, or not foreseen.
    FAILED = "failed"


class HelperRequest(msgspec.Struct, omit_defaults=True):
    """Compile a schema, and check an instance if there is one.

    Attributes:
        schema: JSON.
        seconds: after this the helper may be killed.
        instance: JSON.
    """

    schema: str
    seconds: float
    instance: str | None = None


class HelperAnswer(msgspec.Struct, omit_defaults=True):
    """What became of a request.

    Attributes:
        why: a sentence without full stop.
        path: the place in a refused schema, such as ``properties.a.pattern``.
    """

    outcome: HelperOutcome
    why: str = ""
    path: str = ""
