"""The stream of an answer, read with limits: whatever a server sends, it is text, a sentence, or nothing."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from typing import Any

from pydantic_core import from_json

from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.ports import Piece

LONGEST_LINE = 2**20
"""Bytes of one line of a stream; a token's line has a few hundred."""
MOST_BYTES, MOST_LINES = 2**25, 200_000
"""Of a whole stream. A token has two lines, one of them empty, and about 220 bytes in them."""
MOST_CHARACTERS = 200_000
"""Characters of an answer, about 50,000 tokens; what is longer ends there."""
MOST_TOKENS = 10**9
"""A count of tokens above this is nonsense."""


class AnswerStream:
    """Reads one answer. UserError as soon as it is longer than an answer may be, or none at all."""

    def __init__(self) -> None:
        self.begun = False
        """A line has come."""
        self._characters, self._cut = 0, False

    async def pieces(self, parts: AsyncIterable[bytes]) -> AsyncGenerator[Piece | None, None]:
        """What each line says, the bytes of a response given; None: it says nothing."""
        answered = False
        async for line in _lines(parts):
            self.begun = True
            piece = self._read(line)
            answered = answered or piece is not None
            yield piece
            if self._characters >= MOST_CHARACTERS:
                raise UserError(t("ask.too_much", count=MOST_CHARACTERS))
        if not answered:
            raise UserError(t("ask.nonsense"))

    def _read(self, line: bytes) -> Piece | None:
        """A line of server-sent events; other lines, and the mark of the end, say nothing."""
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            return None
        try:
            chunk = from_json(line[5:])
        except ValueError:
            raise UserError(t("ask.nonsense")) from None
        text, ends_at_length = _text(_mapping(chunk))
        text = text[: MOST_CHARACTERS - self._characters]
        self._characters += len(text)
        self._cut = self._cut or ends_at_length
        return Piece(text, _tokens(_mapping(chunk)), self._cut)


async def _lines(parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The whole lines; UserError if there are too many of them, or one is too long."""
    held, taken, count = bytearray(), 0, 0
    async for part in parts:
        taken, count = taken + len(part), count + part.count(b"\n")
        if taken > MOST_BYTES or count > MOST_LINES:
            raise UserError(t("ask.too_much", count=MOST_CHARACTERS))
        held += part
        if b"\n" in part:
            *whole, rest = held.split(b"\n")
            held = rest
            for line in whole:
                yield bytes(line)
        if len(held) > LONGEST_LINE:
            raise UserError(t("ask.nonsense"))
    if held:
        yield bytes(held)


def _text(chunk: Mapping[str, Any]) -> tuple[str, bool]:
    """The text that a chunk brings, and whether the answer ends with it because it reached its longest
    length. vLLM tells of a dead engine inside a stream that began with 200: UserError."""
    if "error" in chunk:
        raise UserError(t("ask.engine_died"))
    choices = chunk.get("choices")
    choice = _mapping(choices[0] if isinstance(choices, list) and choices else None)
    content = _mapping(choice.get("delta")).get("content")
    return content if isinstance(content, str) else "", choice.get("finish_reason") == "length"


def _tokens(chunk: Mapping[str, Any]) -> int | None:
    """The tokens of the whole answer, which the last chunk tells: it has no choices."""
    tokens = None if chunk.get("choices") else _mapping(chunk.get("usage")).get("completion_tokens")
    return tokens if type(tokens) is int and 0 <= tokens <= MOST_TOKENS else None


def _mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object of JSON; else an empty one."""
    return value if isinstance(value, dict) else {}
