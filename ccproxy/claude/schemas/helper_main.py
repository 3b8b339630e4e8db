"""The program of a helper process: compiles JSON Schemas and checks instances. Pure.

A client's schema can take unlimited time and memory, so the server may kill this
process. The process limits its own memory, and ends at the end of stdin. In case the
server is dead, it also kills itself by SIGALRM, one second after the time limit of a
request.

`ccproxy.claude.schemas.helper_messages` defines the messages on stdin and stdout.
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

from ccproxy.claude.schemas.drafts import SchemaRefused, cut, path_text
from ccproxy.claude.schemas.helper_messages import (
    HelperAnswer,
    HelperOutcome,
    HelperRequest,
)
from ccproxy.claude.schemas.validation import CompiledSchema, compile_schema

# Enough for the depth that `text_limits` allows. With a stack of 8 MB, 18,000 levels
# ended in RecursionError, and 27,000 levels in a crash.
_RECURSION_LIMIT = 9_000
_ALARM_MARGIN_SECONDS = 1.0
_MOST_COMPILED = 64
_MOST_COMPILED_CHARACTERS = 8_000_000
_WHY_CHARACTERS = 400


@define(eq=False)
class SchemaValidator:
    """Compiles schemas and checks instances.

    Attributes:
        kept: the most recently used compiled schemas, by their text.
    """

    kept: OrderedDict[str, CompiledSchema] = field(factory=OrderedDict)

    def answer(self, request: HelperRequest) -> HelperAnswer:
        """Compile a schema or check an instance; every error becomes an outcome."""
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
            # The error's text may quote the instance.
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
    """Answer requests until the end of ``lines``."""
    validation = SchemaValidator()
    decoder = msgspec.json.Decoder(HelperRequest)

    def write(answer: HelperAnswer) -> None:
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()

    write(HelperAnswer(HelperOutcome.READY))
    for line in lines:
        request = decoder.decode(line)
        write(HelperAnswer(HelperOutcome.BEGUN))
        signal.setitimer(signal.ITIMER_REAL, request.seconds + _ALARM_MARGIN_SECONDS)
        answer = validation.answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        write(answer)


def main(memory_bytes: int) -> None:
    """Run the helper process.

    Args:
        memory_bytes: limit of the process's address space, if the system supports it.
    """
    # Ctrl-C reaches the whole process group, but only the server ends its helpers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit_memory(memory_bytes)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    # Clients' regular expressions cause warnings.
    warnings.simplefilter("ignore")
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)


def _limit_memory(limit: int) -> None:
    # No core dumps: they would write clients' data to the disk.
    limits = ((resource.RLIMIT_AS, limit), (resource.RLIMIT_DATA, limit))
    for kind, wanted in (*limits, (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        # macOS does not limit memory.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]))
