"""Seals what a message remembers for the bot alone: others can read a message's metadata."""

import hashlib
import hmac
import zlib

from nacl.encoding import URLSafeBase64Encoder
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

LONGEST = 2**20
"""Characters that are unpacked at most."""


class Sealer:
    """The key is derived from the bot's token: what was sealed opens after a restart, but not after a change
    of the token."""

    def __init__(self, token: str) -> None:
        self._box = SecretBox(hmac.digest(token.encode(), b"llm-bot waiting questions", hashlib.sha256))

    def seal(self, words: str) -> str:
        """The words as nobody else can read or change them."""
        return self._box.encrypt(zlib.compress(words.encode()), encoder=URLSafeBase64Encoder).decode()

    def open(self, sealed: str) -> str | None:
        """The words; None if they were not sealed with this token."""
        try:
            packed = self._box.decrypt(sealed.encode(), encoder=URLSafeBase64Encoder)
        except (CryptoError, ValueError):
            return None
        return zlib.decompressobj().decompress(packed, LONGEST).decode()
