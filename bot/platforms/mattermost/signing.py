"""What comes back to us carries our own signature: Mattermost signs no call, and lets people make some."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from secrets import token_hex
from time import time
from typing import Any

from bot.core.chat.errors import UserError
from bot.core.chat.text import t


class Forged(Exception):
    """We never made this."""


class Signer:
    """The key comes from the bot's token: buttons outlive a restart, not a new token."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.sha256(f"llm-bot callbacks {token}".encode()).digest()

    def sign(self, purpose: str, seconds: float, **values: str) -> dict[str, str]:
        """The values, with an end, a nonce and a MAC over all of it."""
        whole = {**values, "ends": str(int(time() + seconds)), "nonce": token_hex(8)}
        return {**whole, "mac": self._mac(purpose, whole)}

    def read(self, purpose: str, signed: Mapping[str, Any]) -> dict[str, str]:
        """The values; Forged if we did not sign them for this purpose, UserError when they have ended."""
        values = {name: value for name, value in signed.items() if name != "mac" and isinstance(value, str)}
        if not hmac.compare_digest(self._mac(purpose, values).encode(), str(signed.get("mac")).encode()):
            raise Forged
        if int(values["ends"]) < time():
            raise UserError(t("mattermost.too_old"))
        return values

    def _mac(self, purpose: str, values: Mapping[str, str]) -> str:
        told = json.dumps([purpose, values], sort_keys=True).encode()
        return hmac.new(self._key, told, hashlib.sha256).hexdigest()
