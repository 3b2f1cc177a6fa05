"""What the errors of a model's server mean to people (texts of vLLM 0.8 to 0.33)."""

import re

from bot.core.chat.errors import UserError
from bot.core.chat.text import t

_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens", re.IGNORECASE)
_NO_TEMPLATE = re.compile(r"chat template", re.IGNORECASE)
_BUSY = {429, 503}
"""Statuses of a server, or of what stands before it, that has no room."""
_DEAD = re.compile(r"Engine ?Core|Engine ?Dead|(?:Engine|Background) loop", re.IGNORECASE)
"""An engine that has ended. vLLM 0.8.5 gives even that the status 400 in a stream."""


def explain_chunk(error: object) -> UserError:
    """An error inside a stream that began with 200. It has a status of its own, unless the engine died."""
    told = error if isinstance(error, dict) else {}
    status, message = told.get("code"), told.get("message")
    message = message if isinstance(message, str) else ""
    if type(status) is not int or not 400 <= status < 600 or _DEAD.search(message):
        return UserError(t("ask.engine_died"))
    return explain(status, message)


def explain(status: int, message: str) -> UserError:
    """An error body as a sentence."""
    if found := _TOO_LONG.search(message):
        return UserError(t("ask.too_long", limit=int(found[1])))
    if status == 400 and _NO_TEMPLATE.search(message):
        return UserError(t("ask.no_chat_template"))
    if status in (401, 403):
        return UserError(t("ask.key_refused"))
    if status == 404:
        return UserError(t("ask.wrong_name"))
    if 300 <= status < 400:  # no redirect is followed: a model could send the bot anywhere
        return UserError(t("ask.nonsense"))
    if status in _BUSY:
        return UserError(t("ask.busy"))
    if status >= 500:
        return UserError(t("ask.server_error"))
    return UserError(t("ask.refused", why=message[:200]))
