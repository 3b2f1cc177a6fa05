"""Messages on every chat platform."""

from collections.abc import Sequence
from typing import Protocol

from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply


class Messenger(Protocol):
    """Posts, edits and finds messages. UserError when the platform cannot be reached or refuses."""

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """Post a reply and return the message's id. An empty `locale` means the language of the settings."""

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """Replace a message, by its id, with this reply."""

    async def history(self, place: Place) -> Sequence[Turn]:
        """The conversation with models in this place, the oldest turn first."""

    async def find(self, place: Place, key: str) -> str:
        """The id of the message that was posted with this `Reply.key`; empty if there is none."""

    def reaches(self, place: Place) -> bool:
        """This process is connected to the platform of this place."""

    def alone_shows(self, place: Place, message: str) -> bool:
        """The message with this id stands in the terminal of this process: no other one can edit it."""

    def away(self) -> Sequence[str]:
        """The names of platforms that the bot has no connection to."""

    async def resume(self, place: Place, message: str) -> bool:
        """Run the `Reply.again` of a message once more, for the person who typed it, until that is over. True
        then, also if it was refused or the message does not wait any more; False if there is no room for it
        now: try again later."""
