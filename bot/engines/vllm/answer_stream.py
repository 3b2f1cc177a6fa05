"""The stream of an answer, read with limits: whatever a server sends, it is text, a sentence, or nothing."""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from typing import Any

from pydantic_core import from_json

from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.ports import Piece
from bot.engines.vllm.errors import explain_chunk

LONGEST_EVENT = 2**20
"""Bytes of one event, and of one line; a token's event has a few hundred."""
MOST_BYTES, MOST_LINES = 2**25, 200_000
"""Of a whole stream. A token has two lines, one of them empty, and about 220 bytes in them."""
MOST_CHARACTERS = 200_000
"""Characters of an answer, about 50,000 tokens; what is longer ends there."""
MOST_TOKENS = 10**9
"""A count of tokens above this is nonsense."""
DONE = object()
"""The mark of the end of a stream."""
_GIVEN_UP = ("abort", "error")
"""Reasons to finish of a server that did not finish."""


class AnswerStream:
    """Reads one answer. UserError as soon as it is longer than an answer may be, ends before it is whole, or
    is none at all."""

    def __init__(self) -> None:
        self.begun = False
        """An event has come."""
        self._characters, self._cut, self._whole = 0, False, False

    async def pieces(self, parts: AsyncIterable[bytes]) -> AsyncGenerator[Piece, None]:
        """What each event says, the bytes of a response given."""
        async with aclosing(_events(parts)) as chunks:
            async for chunk in chunks:
                if chunk is DONE:
                    self._whole = self.begun
                    break
                self.begun = True
                yield self._read(_mapping(chunk))
                if self._characters >= MOST_CHARACTERS:
                    raise UserError(t("ask.too_much", count=MOST_CHARACTERS))
        if not self._whole:  # half an answer would look like a whole one
            raise UserError(t("ask.unfinished" if self.begun else "ask.nonsense"))

    def _read(self, chunk: Mapping[str, Any]) -> Piece:
        """A chunk of the answer; UserError if it tells of an error, although the response began with 200."""
        if chunk.get("error"):
            raise explain_chunk(chunk["error"])
        choices = chunk.get("choices")
        choice = _mapping(choices[0] if isinstance(choices, list) and choices else None)
        finish = choice.get("finish_reason")
        if finish in _GIVEN_UP:
            raise UserError(t("ask.unfinished"))
        self._whole = self._whole or bool(finish)
        self._cut = self._cut or finish == "length"
        content = _mapping(choice.get("delta")).get("content")
        text = content[: MOST_CHARACTERS - self._characters] if isinstance(content, str) else ""
        self._characters += len(text)
        return Piece(text, _tokens(chunk), self._cut)


async def _events(parts: AsyncIterable[bytes]) -> AsyncGenerator[object, None]:
    """What each event holds, up to DONE; UserError if one is no JSON, or there is too much.

    An empty line ends an event, whose data may stand in several lines; one that is whole in its first line
    needs none. Comments, and events without data, are nothing: what stands before a server sends them to keep
    a connection open, whether or not the server still lives."""
    held = bytearray()
    async with aclosing(_lines(parts)) as lines:
        async for line in lines:
            first, ends = not held, not line.strip()
            if line.startswith(b"data:"):
                held += line[5:].strip()
            if held == b"[DONE]":
                yield DONE
            elif held and (first or ends):
                chunk, whole = _parsed(held)
                if whole:
                    held.clear()
                    yield chunk
                elif ends:
                    raise UserError(t("ask.nonsense"))
            _bounded(held)


async def _lines(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
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
        _bounded(held)
    if held:
        yield bytes(held)


def _bounded(held: bytearray) -> None:
    """UserError for a line or an event that is too long."""
    if len(held) > LONGEST_EVENT:
        raise UserError(t("ask.nonsense"))


def _parsed(data: bytearray) -> tuple[object, bool]:
    """The JSON in it, and whether it is one."""
    try:
        return from_json(data), True
    except ValueError:
        return None, False


def _tokens(chunk: Mapping[str, Any]) -> int | None:
    """The tokens of the whole answer, which the last chunk tells: it has no choices."""
    tokens = None if chunk.get("choices") else _mapping(chunk.get("usage")).get("completion_tokens")
    return tokens if type(tokens) is int and 0 <= tokens <= MOST_TOKENS else None


def _mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object of JSON; else an empty one."""
    return value if isinstance(value, dict) else {}
