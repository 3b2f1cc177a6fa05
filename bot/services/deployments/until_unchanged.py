"""Repeating a decision that was made on an old view of a workload."""

from collections.abc import Awaitable, Callable

from bot.core.chat.errors import Changed

TRIES = 5
"""How often a decision is made; after that the person is told that something else changes the workload."""


async def until_unchanged(decide: Callable[[], Awaitable[None]]) -> None:
    """Call `decide`, which reads a workload and writes a change of it, until it does not raise Changed, up to
    `TRIES` times; the last Changed is raised."""
    for left in reversed(range(TRIES)):
        try:
            await decide()
            return
        except Changed:
            if not left:
                raise
