"""The servers of models: questions to them, and their load."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.core.chat.message import Turn
from bot.core.ports.cluster import Endpoint


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to choose its words. None leaves a value to its server."""

    temperature: float | None = None
    """0 always takes the likeliest token; up to 2, the higher the more varied."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability, above 0 up to 1."""
    max_tokens: int | None = None
    """The longest answer, in tokens."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer, as it is streamed."""

    text: str = ""
    """The next part of the answer; empty in the last piece."""
    tokens: int | None = None
    """The tokens of the whole answer, in the last piece; None: it is not the last one, or the server does not
    say."""
    cut: bool = False
    """The answer was cut because it reached the longest length."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is doing, as its metrics say."""

    running: int
    """Requests that it is answering."""
    waiting: int
    """Requests in its queue."""
    tokens: float
    """Tokens that it has read and written since it started."""


class Inference(Protocol):
    """Asks the servers of models."""

    def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Stream the answer to a conversation; closing the stream ends generation. UserError when the server
        cannot be reached, refuses, or stops in the middle."""

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        """The tokens of the conversation; None if the server cannot say."""

    async def load(self, url: str) -> Load | None:
        """The load of the server at this address (without `/v1`); None if it does not say."""
