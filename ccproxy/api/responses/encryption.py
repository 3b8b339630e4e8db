"""Encrypts data that clients store for the proxy, as ``encrypted_content``. Pure.

Thinking goes back to the model only with its provider's signature, and clients must not
edit a compacted conversation. So both are encrypted with a key of the proxy.

Source: ``reasoning.encrypted_content`` and ``CompactionBody`` in OpenAI's document;
the result is a Fernet token (AES-128-CBC with HMAC-SHA-256).
"""

import re
from collections.abc import Mapping

import msgspec
from cryptography.fernet import Fernet, InvalidToken

# Fernet ignores other characters, and would accept a token that was changed by them.
_TOKEN = re.compile("[A-Za-z0-9_-]+={0,2}")
_decode = msgspec.json.Decoder(dict[str, str]).decode


class Encryptor:
    """Encrypts and decrypts with one key.

    Args:
        key: a key made by `new_key`.
    """

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    def encrypt(self, values: Mapping[str, str]) -> str:
        """Encrypt some texts to one line of ASCII."""
        return self._fernet.encrypt(msgspec.json.encode(values)).decode()

    def decrypt(self, encrypted: str) -> Mapping[str, str] | None:
        """Decrypt some texts; None: another key encrypted them, or they were changed.

        Args:
            encrypted: the text that the client sent.
        """
        if not _TOKEN.fullmatch(encrypted):
            return None
        try:
            return _decode(self._fernet.decrypt(encrypted.encode()))
        except (InvalidToken, msgspec.DecodeError):
            return None


def new_key() -> bytes:
    """Make a key for an `Encryptor`."""
    return Fernet.generate_key()
