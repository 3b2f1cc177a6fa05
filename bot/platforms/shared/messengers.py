"""The Messenger port over all platforms: a place knows which one it belongs to."""

from collections.abc import Iterable, Sequence

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.platforms.shared.platform import Platform


class Messengers:
    """Routes by the name of the platform; UserError for a platform that is not connected."""

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self._platforms = {platform.name: platform for platform in platforms}

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """Post in a place."""
        return await self._of(place).post(place, reply, locale)

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """Edit a message of a place."""
        await self._of(place).edit(place, message, reply, locale)

    async def history(self, place: Place) -> Sequence[Turn]:
        """The conversation of a place."""
        return await self._of(place).history(place)

    async def find(self, place: Place, key: str) -> str:
        """The message of a place with this key."""
        return await self._of(place).find(place, key)

    def reaches(self, place: Place) -> bool:
        """One of the platforms has that place."""
        return place.platform in self._platforms

    def alone_shows(self, place: Place, message: str) -> bool:
        """As its platform says."""
        return self.reaches(place) and self._of(place).alone_shows(message)

    def away(self) -> Sequence[str]:
        """Those that are not ready."""
        return [name for name, platform in self._platforms.items() if not platform.ready]

    async def resume(self, place: Place, message: str) -> bool:
        """Go on with the request of a message until it is over."""
        return await self._of(place).resume(place, message)

    def _of(self, place: Place) -> Platform:
        if place.platform not in self._platforms:
            raise UserError(t("error.no_platform", platform=place.platform))
        return self._platforms[place.platform]
