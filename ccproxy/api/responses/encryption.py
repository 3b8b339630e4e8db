"""Encrypts data that clients store for the proxy, as ``encrypted_content``. Pure.

The data are thinking, with the provider's signature, and summaries of compacted
conversations. Because of the encryption, clients cannot read or change them.

Source: ``reasoning.encrypted_content`` and ``CompactionBody`` in OpenAI's document;
the result is a Fernet token (AES-128-CBC with HMAC-SHA-256).
"""

import re
from collections.abc import Mapping

import msgspec
from cryptography.fernet import Fernet, InvalidToken

# Fernet ignores all other characters, so it would accept a token with some inserted.
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
        """Encrypt named texts; returns one line of ASCII."""
        return self._fernet.encrypt(msgspec.json.encode(values)).decode()

    def decrypt(self, encrypted: str) -> Mapping[str, str] | None:
        """Decrypt named texts; None: another key encrypted them, or they were changed.

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


def encrypted_field(
    encryptor: Encryptor | None, secret: Mapping[str, str], model: str, prefix: str
) -> Mapping[str, str]:
    """The field of a reasoning item with encrypted thinking.

    Args:
        encryptor: encrypts the thinking; None: there is no such field.
        secret: the thinking, its signature, or its data.
        model: the full id of the model that made it.
        prefix: the hash of the conversation before it; empty: unknown.
    """
    if encryptor is None:
        return {}
    about = {"model": model, "prefix": prefix} if prefix else {"model": model}
    return {"encrypted_content": encryptor.encrypt({**secret, **about})}
