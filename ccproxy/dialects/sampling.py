"""Fields that would change an answer, and mostly cannot: sent or named. Pure.

Current models refuse temperature and its like, so these are the operator's to send;
what the Messages API has nothing for is always named as ignored.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from ccproxy.errors import InvalidRequest

# What every JSON reader on the way can still tell from its neighbours.
_LARGEST_NUMBER = 2**53


@frozen
class Sampling:
    """What becomes of the fields that were given.

    Attributes:
        sent: top-level fields for the Messages API.
        ignored: the names of those that have no effect.
    """

    sent: Mapping[str, float]
    ignored: tuple[str, ...]


def sort_sampling(
    request: object,
    forwardable: Sequence[str],
    ignored: Sequence[str],
    *,
    forward: bool,
) -> Sampling:
    """Sort the fields of a request that were given.

    Args:
        request: has them as attributes; None and an empty object are not given.
        forwardable: those that the Messages API knows, which are numbers.
        ignored: those that it does not.
        forward: whether the operator sends the former.

    Raises:
        InvalidRequest: a number that no two readers would agree on.
    """
    given = [
        name
        for name in (*forwardable, *ignored)
        if getattr(request, name) not in (None, {})
    ]
    numbers = {
        name: _number(getattr(request, name), name)
        for name in given
        if name in forwardable
    }
    if not forward:
        return Sampling({}, tuple(given))
    return Sampling(numbers, tuple(name for name in given if name not in numbers))


def _number(value: float, param: str) -> float:
    if abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"`{param}` is out of all bounds", param=param)
    return value
