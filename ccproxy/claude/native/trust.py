"""How far CLIs are used again: less, when they do not bear it out.

A CLI that does not do what it is told costs a question up to two seconds and is then
replaced. One may have its reasons; several in a row are a version that cannot do it.
"""

from twisted.logger import Logger

from ccproxy.claude.native.transcript import Reuse

# So many in a row.
_ENOUGH = 3

_LESS = {Reuse.REWIND: Reuse.CONTINUE, Reuse.CONTINUE: Reuse.OFF}


class Trust:
    """What CLIs may be used for as things stand.

    Attributes:
        reuse: as much as the operator wants, or less.
    """

    _log = Logger()

    def __init__(self, wanted: Reuse) -> None:
        self._wanted = wanted
        self.restore()

    def restore(self) -> None:
        """Begin anew: it may be another version now."""
        self.reuse = self._wanted
        self._refusals = {Reuse.REWIND: 0, Reuse.CONTINUE: 0}

    def earned(self, use: Reuse) -> None:
        """Note that a CLI could be used like this."""
        self._refusals[use] = 0

    def lost(self, use: Reuse) -> None:
        """Note that a CLI could not."""
        self._refusals[use] += 1
        if self._refusals[use] < _ENOUGH or self.reuse is not use:
            return
        self.reuse = _LESS[use]
        self._log.warn(
            "the claude CLI does not bear out --reuse {use}; it is {reuse} until the "
            "next start",
            use=use.value,
            reuse=self.reuse.value,
        )
