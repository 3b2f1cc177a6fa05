"""Chats, whatever platform they are on."""

from collections.abc import Sequence
from typing import Protocol

from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply


class Messenger(Protocol):
    """Where people are told things, and where they were told before."""

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """Post in a language, and return the message's id."""

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """Put `reply` in the place of a message posted before."""

    async def history(self, place: Place) -> Sequence[Turn]:
        """The conversation with models in this place, oldest first."""

    async def find(self, place: Place, key: str) -> str:
        """The message that was posted with this `Reply.key`, if it is there; else nothing."""

    def reaches(self, place: Place) -> bool:
        """The platform of this place is one that this process speaks to."""

    def alone_shows(self, place: Place, message: str) -> bool:
        """No other process can bring news into this message: it stands in the terminal of this one."""

    def away(self) -> Sequence[str]:
        """Platforms that people cannot reach us by now."""

    async def resume(self, place: Place, message: str) -> bool:
        """Run the line again that a message waits for, for whoever typed it; False if it waits no more."""
