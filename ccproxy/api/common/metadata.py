"""Checks the metadata of responses and conversations. Pure.

Source: ``Metadata`` in OpenAI's document.
"""

from collections.abc import Mapping

from ccproxy.core.errors import InvalidRequest

_MOST_ENTRIES = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def checked_metadata(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """Check metadata against the limits of OpenAI's document.

    Raises:
        InvalidRequest: the metadata exceed a limit.
    """
    metadata = given or {}
    if len(metadata) > _MOST_ENTRIES:
        raise InvalidRequest(
            f"`metadata` may have at most {_MOST_ENTRIES} entries", param="metadata"
        )
    for key, value in metadata.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise InvalidRequest(
                f"`metadata`: a key may have at most {_LONGEST_KEY} characters, a "
                f"value at most {_LONGEST_VALUE}",
                param="metadata",
            )
    return metadata
