"""The mirrors of a cluster together: started, stopped, and how they are."""

import asyncio
from collections.abc import Mapping, Sequence

from bot.cluster.mirror import Mirror
from bot.core.chat.errors import UserError
from bot.core.chat.text import t

SYNC_SECONDS = 20.0
"""How long a start may take until everything is known."""


class Mirrors:
    """By what they follow; the `needed` ones are those without which there is nothing to do."""

    def __init__(self, needed: Mapping[str, Mirror], others: Mapping[str, Mirror]) -> None:
        self._needed = needed
        self._all = {**needed, **others}
        self._following: list[asyncio.Task[None]] = []

    async def start(self, namespace: str) -> None:
        """Return when everything is known; UserError when the API does not answer or refuses."""
        self._following = [asyncio.create_task(mirror.run()) for mirror in self._all.values()]
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await asyncio.gather(*(mirror.synced.wait() for mirror in self._all.values()))
        except TimeoutError:
            raise UserError(t("error.api_away")) from None
        for resource, mirror in self._needed.items():
            if mirror.forbidden:
                raise UserError(t("error.forbidden", verb="list", resource=resource, namespace=namespace))

    async def stop(self) -> None:
        """Stop following."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    @property
    def synced(self) -> bool:
        """They know what is needed, and follow it."""
        following = not any(task.done() for task in self._following)
        return following and all(mirror.synced.is_set() for mirror in self._needed.values())

    def stalled(self) -> Sequence[str]:
        """Resources that nothing has brought up to date for a minute, though we may read them."""
        return [
            name
            for name, mirror in self._all.items()
            if mirror.stalled and (name in self._needed or not mirror.forbidden)
        ]

    def unreadable(self) -> Mapping[str, str]:
        """Why objects cannot be read, by what and where they are."""
        return {
            f"{resource} {'/'.join(filter(None, key))}": why
            for resource, mirror in self._all.items()
            for key, why in mirror.broken.items()
        }
