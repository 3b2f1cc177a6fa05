"""Seals what a message remembers for the bot alone: others can read a message's metadata."""

import base64
import zlib

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LONGEST = 2**20
"""Characters that are unpacked at most."""


class Sealer:
    """The key is derived from the bot's token: what was sealed opens after a restart, but not after a change
    of the token."""

    def __init__(self, token: str) -> None:
        key = HKDF(SHA256(), 32, salt=None, info=b"llm-bot waiting questions").derive(token.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, words: str) -> str:
        """The words as nobody else can read or change them."""
        return self._fernet.encrypt(zlib.compress(words.encode())).decode()

    def open(self, sealed: str) -> str | None:
        """The words; None if they were not sealed with this token."""
        try:
            packed = self._fernet.decrypt(sealed)
        except InvalidToken:
            return None
        return zlib.decompressobj().decompress(packed, LONGEST).decode()
