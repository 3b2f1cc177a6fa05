"""Signatures of buttons and dialogs: Mattermost signs no call, and lets people make some themselves."""

import hashlib
import time
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from bot.core.chat.errors import UserError
from bot.core.chat.text import t

FORMER_SIGNATURE = "mac"
"""In the place of `signed` before the signatures were those of itsdangerous."""
Clock = Callable[[], float]
"""Seconds since 1970."""


class Forged(Exception):
    """The signature is not ours."""


class Signer:
    """The key is derived from the bot's token: buttons work after a restart, but not after a change of the
    token."""

    def __init__(self, token: str, clock: Clock = time.time) -> None:
        self._serializer = URLSafeTimedSerializer(
            f"llm-bot callbacks {token}",
            serializer_kwargs={"ensure_ascii": False},
            signer=_signer_by(clock),
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def sign(self, purpose: str, **values: str) -> str:
        """The values with the time, a nonce and a signature over all of it; anybody can read them."""
        signed = self._serializer.dumps({**values, "nonce": token_hex(8)}, salt=purpose)
        return signed if isinstance(signed, str) else signed.decode()

    def read(self, purpose: str, signed: object, seconds: int) -> dict[str, str]:
        """The values and their nonce; Forged if we did not sign them for this purpose, UserError when that
        was more than so many seconds ago."""
        try:
            values: dict[str, str] = self._serializer.loads(str(signed), max_age=seconds, salt=purpose)
        except SignatureExpired:
            raise UserError(t("mattermost.too_old")) from None
        except BadData:
            raise Forged from None
        return values


def check_format(call: Any) -> None:
    """UserError for what an older version of the bot has signed, which can no longer be checked."""
    if isinstance(call, Mapping) and FORMER_SIGNATURE in call:
        raise UserError(t("mattermost.too_old"))


def _signer_by(clock: Clock) -> type[TimestampSigner]:
    class ClockSigner(TimestampSigner):
        """Takes the time from the clock."""

        def get_timestamp(self) -> int:
            """Whole seconds since 1970."""
            return int(clock())

    return ClockSigner
