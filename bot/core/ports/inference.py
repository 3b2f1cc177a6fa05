"""The models' servers: what they are asked, and what they say of themselves."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.core.chat.message import Turn
from bot.core.ports.cluster import Endpoint


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to answer; None is what its server does by default."""

    temperature: float | None = None
    """0 is always the likeliest token; higher is more varied."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability, above 0 up to 1."""
    max_tokens: int | None = None
    """The longest answer, in tokens."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer, as it is streamed."""

    text: str = ""
    """What comes next; the last piece has none."""
    tokens: int | None = None
    """Tokens of the whole answer; only the last piece has it, and only if the server says."""
    cut: bool = False
    """The answer ended because it was as long as it may be."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a model server says of itself."""

    running: int
    """Requests that it answers now."""
    waiting: int
    """Requests that wait in its queue."""
    tokens: float
    """Tokens that it has read and written since it started."""


class Inference(Protocol):
    """The models' servers."""

    def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Stream an answer; closing it ends generation. UserError when it cannot go on."""

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        """Tokens that the turns take, or None if the server cannot say."""

    async def load(self, url: str) -> Load | None:
        """What the server at this address does now, or None if it does not say."""
