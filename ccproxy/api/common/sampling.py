"""Sampling fields of OpenAI's APIs: sent on, or reported as ignored. Pure.

Many models refuse ``temperature`` and the like; `ccproxy.claude.body.fields` decides
that, where the model is known. Fields that the Messages API lacks are always reported.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from ccproxy.api.common.adjustments import Adjustments
from ccproxy.core.errors import InvalidRequest

# Beyond it, JSON readers with binary64 numbers do not agree on integers.
_LARGEST_NUMBER = 2**53


def sampling_fields(
    request: object,
    known: Sequence[str],
    unknown: Sequence[str],
    adjustments: Adjustments,
) -> Mapping[str, Raw]:
    """The sampling fields of a request that the Messages API has, too.

    Args:
        request: has the fields as attributes; None and ``{}`` mean absent.
        known: names of number fields that the Messages API has.
        unknown: names of fields that the Messages API lacks.
        adjustments: get the names of those that the request has.

    Raises:
        InvalidRequest: a number is too large.
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
