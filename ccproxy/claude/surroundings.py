"""What sessions need of the world."""

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from ccproxy.claude.deadlines import Limits
from ccproxy.claude.records import InitializeAnswer
from ccproxy.errors import CCProxyError


@frozen(kw_only=True)
class Surroundings:
    """What sessions need of the world.

    Attributes:
        wall_seconds: Unix time.
        learned: told what a CLI says of itself when it is initialized.
        unheard: told why one has failed that had not answered anything.
        full_id: the id of the model that a name means.
        forces_calls: whether the API itself is told that a call is demanded.
        tells_own_calls: whether clients are told what the CLI does by itself.
    """

    spawner: IReactorProcess
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    limits: Limits
    learned: Callable[[InitializeAnswer], None]
    unheard: Callable[[CCProxyError], None]
    full_id: Callable[[str], str] = str
    forces_calls: bool = False
    tells_own_calls: bool = False
