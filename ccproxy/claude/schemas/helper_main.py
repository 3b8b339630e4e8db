"""The helper process: compiles JSON Schemas and checks instances. Pure.

A schema of a client's can take time and memory without bound; this process may be
killed. It limits its own memory and ends at the end of stdin. It kills itself by
SIGALRM one second after a request's limit, in case that its parent is gone by then.

See `ccproxy.claude.schemas.helper_messages` for what it reads and writes.
"""

import resource
import signal
import sys
import warnings
from collections import OrderedDict
from contextlib import suppress
from typing import BinaryIO

import msgspec
from attrs import define, field

from ccproxy.claude.schemas.error_text import SchemaRefused, cut, path_text
from ccproxy.claude.schemas.helper_messages import (
    HelperAnswer,
    HelperOutcome,
    HelperRequest,
)
from ccproxy.claude.schemas.validation import CompiledSchema, compile_schema

# What a schema and an instance of the allowed depth need, see `limits`. Tried with a
# stack of 8 MB: 18,000 end in RecursionError, 27,000 in a crash.
_RECURSION_LIMIT = 9_000
_ALARM_MARGIN_SECONDS = 1.0
_MOST_COMPILED = 64
_MOST_COMPILED_CHARACTERS = 8_000_000
_WHY_CHARACTERS = 400


@define(eq=False)
class SchemaValidator:
    """Does what requests ask for.

    Attributes:
        kept: the compiled schemas that were used last, by their text.
    """

    kept: OrderedDict[str, CompiledSchema] = field(factory=OrderedDict)

    def answer(self, request: HelperRequest) -> HelperAnswer:
        """Do what a request asks for; never fails."""
        instance = request.instance
        try:
            compiled = self._compile(request.schema)
            why = None if instance is None else compiled.problem(instance)
        except SchemaRefused as error:
            path = path_text(error.path, "")
            why = cut(str(error), _WHY_CHARACTERS)
            return HelperAnswer(HelperOutcome.REFUSED, why, path)
        except MemoryError:
            return HelperAnswer(HelperOutcome.MEMORY)
        except RecursionError:
            return HelperAnswer(HelperOutcome.FAILED, "it is nested too deeply")
        except Exception as error:  # noqa: BLE001
            # Its own words may quote the instance.
            why = f"it made the check fail with {type(error).__name__}"
            return HelperAnswer(HelperOutcome.FAILED, why)
        if why is None:
            return HelperAnswer(HelperOutcome.VALID)
        return HelperAnswer(HelperOutcome.INVALID, cut(why, _WHY_CHARACTERS))

    def _compile(self, schema: str) -> CompiledSchema:
        found = self.kept.pop(schema, None)
        self.kept[schema] = found = found or compile_schema(schema)
        while len(self.kept) > 1 and (
            len(self.kept) > _MOST_COMPILED
            or sum(map(len, self.kept)) > _MOST_COMPILED_CHARACTERS
        ):
            self.kept.popitem(last=False)
        return found


def serve(lines: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    validation = SchemaValidator()
    decoder = msgspec.json.Decoder(HelperRequest)

    def tell(answer: HelperAnswer) -> None:
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()

    tell(HelperAnswer(HelperOutcome.READY))
    for line in lines:
        request = decoder.decode(line)
        tell(HelperAnswer(HelperOutcome.BEGUN))
        signal.setitimer(signal.ITIMER_REAL, request.seconds + _ALARM_MARGIN_SECONDS)
        answer = validation.answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        tell(answer)


def main(memory_bytes: int) -> None:
    """Be the helper process.

    Args:
        memory_bytes: how much address space it may take, where the system limits it.
    """
    # Ctrl-C goes to the whole group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit_memory(memory_bytes)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    # Of clients' regular expressions.
    warnings.simplefilter("ignore")
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)


def _limit_memory(limit: int) -> None:
    # Core: a crash leaves no copy of what clients sent on the disk.
    limits = ((resource.RLIMIT_AS, limit), (resource.RLIMIT_DATA, limit))
    for kind, wanted in (*limits, (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        # macOS does not limit memory.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]))
