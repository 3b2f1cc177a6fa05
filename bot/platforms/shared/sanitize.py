"""Makes text of models harmless: it mentions nobody and hides no address."""

import re

JOINER = "\u2060"
"""A word joiner: invisible, and enough that a chat server no longer reads what it is put into."""

_CALLS = re.compile(
    r"<(?=!(?:channel|here|everyone|subteam|date)|[@#][A-Z]|(?:https?|mailto|tel|slack):)"  # Slack's marks
    r"|@(?=(?:channel|here|everyone|all)\b)"
    r"|\](?=\((?:\w{2,10}:|//))"  # [words](address): the words may say anything
)
_UNFINISHED = re.compile(r"(?:<[!@#]?\w{0,9}|\](?:\(\w{0,10}|\(/)?|@\w{0,8})$")


def harmless(text: str) -> str:
    """The text with a word joiner wherever it would mention people or show a link under other words."""
    return _CALLS.sub(lambda found: found[0] + JOINER, text)


class SanitizedStream:
    """The same for a text that comes in pieces; an unfinished mark is held back until more comes."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str, *, last: bool = False) -> str:
        """What can be shown next."""
        text = self._held + piece
        unfinished = None if last else _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return harmless(text[:end])
