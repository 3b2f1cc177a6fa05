"""Writes whose answer was lost: look whether they were done."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from bot.cluster.client import Api, ApiError, Json
from bot.core.chat.errors import OutcomeUnknown, UserError
from bot.core.chat.text import t

LOOK_SECONDS = 10.0
"""How long to look before it is said that the outcome is not known."""
LOOK_ON_SECONDS = 60.0
"""How long to look after that."""
PAUSE_SECONDS = 1.0
"""Between two looks; what was not done is looked at twice, for it may have been about to be."""


class _Found(NamedTuple):
    """What a look has found."""

    done: bool
    thing: Json | None
    """The object as it is; None: there is none."""


Done = Callable[[Json | None], bool]
"""Whether a write has been done, by the object as it is now; None: there is none."""


async def settled(api: Api, write: Awaitable[Json], path: str, done: Done) -> Json | None:
    """The answer to a write to the object at a `path`. If it is lost, the object as it is, if the write was
    done; UserError if it was not, OutcomeUnknown if that cannot be found out now."""
    try:
        return await write
    except ApiError as error:
        if not error.lost:
            raise
    found = await _look(api, path, done, LOOK_SECONDS)
    if found is None:
        raise OutcomeUnknown(t("error.outcome_unknown"), _looker(api, path, done))
    if not found.done:
        raise UserError(t("error.not_done"))
    return found.thing


def _looker(api: Api, path: str, done: Done) -> Callable[[], Awaitable[bool | None]]:
    async def look() -> bool | None:
        found = await _look(api, path, done, LOOK_ON_SECONDS)
        return found.done if found else None

    return look


async def _look(api: Api, path: str, done: Done, seconds: float) -> _Found | None:
    """What there is; None if the API does not tell in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            found = await _read(api, path, done)
            if found.done:
                return found
            await asyncio.sleep(PAUSE_SECONDS)
            return await _read(api, path, done)
    return None


async def _read(api: Api, path: str, done: Done) -> _Found:
    """Ask until there is an answer."""
    while True:
        try:
            thing: Json | None = await api.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            thing = None
        return _Found(done(thing), thing)
