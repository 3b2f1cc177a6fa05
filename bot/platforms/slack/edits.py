"""Changes of Slack's messages, within its rates."""

from bot.platforms.shared.edits import Edits, Payload
from bot.platforms.slack.web import SlackRefused, Web


class SlackEdits(Edits):
    """By `chat.update`."""

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    async def put(self, channel: str, message: str, payload: Payload) -> bool:
        """Change the message; False when it is gone."""
        try:
            await self._web.call("chat.update", channel=channel, ts=message, **payload)
        except SlackRefused as error:
            if error.gone:
                return False
            raise
        return True

    def spare(self, channel: str) -> bool:
        """There is room for one that could as well wait."""
        return self._web.rates.updates.spare() and self._web.rates.channel(channel).spare()

    async def take(self, channel: str) -> None:
        """Wait for room."""
        await self._web.rates.channel(channel).take()
        await self._web.rates.updates.take()
