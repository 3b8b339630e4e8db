"""Writes lines to the CLI; long lines in pieces, so that the reactor is not blocked.

To encode 32 MB as a JSON string takes half a second of processor time, or more.
"""

from collections.abc import Callable, Iterable, Iterator
from uuid import uuid4

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

# A piece is encoded in some milliseconds.
_PIECE_BYTES = 2**18
_CONTINUES = 0b1000_0000
_CONTINUES_MASK = 0b1100_0000

_encode = msgspec.json.Encoder().encode


def in_pieces(line_of: Callable[[str], bytes], text: bytes) -> Iterator[bytes]:
    """The pieces of the line that has a text (UTF-8) as a JSON string."""
    mark = uuid4().hex
    head, _, tail = line_of(mark).partition(mark.encode())
    yield head
    start = 0
    while start < len(text):
        end = min(start + _PIECE_BYTES, len(text))
        while end < len(text) and text[end] & _CONTINUES_MASK == _CONTINUES:
            end -= 1
        yield _encode(text[start:end].decode())[1:-1]
        start = end
    yield tail


class LineWriter:
    """Writes one line after the other.

    Args:
        write: takes any bytes.
    """

    def __init__(self, write: Callable[[bytes], None], clock: IReactorTime) -> None:
        self._write = write
        self._clock = clock
        self._is_within_line = False
        self._waiting: list[bytes] = []

    def send(self, line: bytes) -> None:
        """Write a line, after the current one."""
        if self._is_within_line:
            self._waiting.append(line)
        else:
            self._write(line)

    async def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """Write a line in pieces, with turns of the reactor between them.

        Only one such line may be written at a time.
        """
        self._is_within_line = True
        for piece in pieces:
            self._write(piece)
            await deferLater(self._clock, 0)
        self._is_within_line = False
        waiting, self._waiting = self._waiting, []
        self._write(b"".join(waiting))
