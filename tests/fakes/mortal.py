"""kill -9 at any step: parts of the bot that die at the n-th call it waits for."""

from collections.abc import Sequence
from typing import Any


class Killed(BaseException):
    """kill -9, as far as a coroutine can see it."""


class Mortal:
    """Dies at the n-th of the calls named in `awaited`, before or after it was done; `calls` counts those
    of all parts together."""

    def __init__(
        self, inner: Any, awaited: Sequence[str], calls: list[int], dies_at: int, *, before: bool
    ) -> None:
        self._inner, self._awaited = inner, awaited
        self._calls, self._dies_at, self._before = calls, dies_at, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._awaited:
            return found

        async def mortal(*arguments: Any, **named: Any) -> Any:
            self._calls[0] += 1
            if self._calls[0] == self._dies_at and self._before:
                raise Killed
            done = await found(*arguments, **named)
            if self._calls[0] == self._dies_at:
                raise Killed
            return done

        return mortal
