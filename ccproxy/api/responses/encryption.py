"""What clients carry for us and cannot read: sealed with a key of ours. Pure.

The thinking of a model comes with its provider's signature, and goes back natively
only with it; a compacted conversation is nobody's to edit. Both travel through the
client as ``encrypted_content``.

Source: ``reasoning.encrypted_content`` and ``CompactionBody`` in OpenAI's document;
the seal is a Fernet token (AES-128-CBC with HMAC-SHA-256).
"""

import re
from collections.abc import Mapping

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from ccproxy.core.errors import InvalidEncryptedContent

# Fernet itself would read over anything else.
_TOKEN = re.compile("[A-Za-z0-9_-]+={0,2}")
_decode = msgspec.json.Decoder(dict[str, str]).decode


class Encryptor:
    """Closes and opens with one key.

    Args:
        key: as `new_key` makes them.
    """

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    def close(self, values: Mapping[str, str]) -> str:
        """Seal some texts, as one line of ASCII."""
        return self._fernet.encrypt(msgspec.json.encode(values)).decode()

    def open(self, sealed: str, at: str) -> Mapping[str, str]:
        """What was sealed.

        Args:
            sealed: as it came from a client.
            at: its path in the request.

        Raises:
            InvalidSeal: it is not ours, or not as we made it.
        """
        if not _TOKEN.fullmatch(sealed):
            raise _not_ours(at)
        try:
            return _decode(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, msgspec.DecodeError):
            raise _not_ours(at) from None


def _not_ours(at: str) -> InvalidEncryptedContent:
    return InvalidEncryptedContent(
        f"`{at}` was not made by this proxy, or was changed on the way; leave the item "
        "out",
        param=at,
    )


def new_key() -> bytes:
    """A key for a `Encryptor`; to be kept for as long as its seals should open."""
    return Fernet.generate_key()
