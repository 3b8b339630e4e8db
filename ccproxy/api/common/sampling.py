"""Fields that would change an answer, and mostly cannot: sent or named. Pure.

Many models refuse temperature and its like, so that is decided where the model is
known; what the Messages API has nothing for is always named as ignored.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from ccproxy.api.common.adjustments import Adjustments
from ccproxy.core.errors import InvalidRequest

# What every JSON reader on the way can still tell from its neighbours.
_LARGEST_NUMBER = 2**53


def sampling_fields(
    request: object,
    known: Sequence[str],
    unknown: Sequence[str],
    adjustments: Adjustments,
) -> Mapping[str, Raw]:
    """The fields of a request that the Messages API has as well, by its names.

    Args:
        request: has them as attributes; None and an empty object are not given.
        known: those that the Messages API knows, which are numbers.
        unknown: those that it does not; they are noted where they are given.
        adjustments: where they are noted.

    Raises:
        InvalidRequest: a number that no two readers would agree on.
    """
    adjustments.ignore(
        *(name for name in unknown if getattr(request, name) not in (None, {}))
    )
    given = {name: getattr(request, name) for name in known}
    return {
        name: _number(value, name) for name, value in given.items() if value is not None
    }


def _number(value: float, param: str) -> Raw:
    if abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"`{param}` is out of all bounds", param=param)
    return Raw(msgspec.json.encode(value))
