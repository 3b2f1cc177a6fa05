"""Messages in Slack: which of them are for the bot, and where replies go."""

import html
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bot.core.chat.message import Message, Place, User
from bot.core.chat.text import Say, t
from bot.platforms.shared.inbound import Body, Inbound
from bot.platforms.shared.platform import Handle
from bot.platforms.shared.presenter import Origin
from bot.platforms.slack.people import SlackPeople
from bot.platforms.slack.presenter import SlackContext, SlackPresenter
from bot.platforms.slack.web import SlackRefused

_LINK = re.compile(r"<(?:https?|mailto):[^|>]*\|([^>]*)>|<((?:https?|mailto):[^>]*)>")
_NAMED = re.compile(r"<([@#][A-Z0-9]+)\|[^>]*>")


class SlackInbound(Inbound):
    """Takes the requests of one workspace."""

    def __init__(
        self, context: SlackContext, people: SlackPeople, handle: Handle, say_in: Callable[[str], Say]
    ) -> None:
        super().__init__(handle, say_in, context.threads)
        self._context, self._people = context, people

    def presenter(self, message: Message, origin: Origin, say: Say) -> SlackPresenter:
        """A presenter of the replies to one message."""
        return SlackPresenter(self._context, message, origin, say)

    async def person(self, user: str, team: str) -> User:
        """The person with this id."""
        return await self._people.user(user, team)

    async def handle_channel_message(self, event: Body, team: str) -> None:
        """Answer a message if it is for the bot."""
        text, channel, thread = event.get("text") or "", event["channel"], event.get("thread_ts") or ""
        threads = self._context.threads
        me = re.compile(rf"<@{threads.bot}(\|[^>]*)?>")
        if not event.get("user") or event["user"] == threads.bot:
            return
        if event.get("channel_type") != "im" and not me.search(text):
            to_somebody_else = text.startswith("<@")
            if not thread or to_somebody_else or not await threads.takes_part(channel, thread):
                return
        place = Place("slack", channel, thread or event["ts"])
        threads.join(channel, place.thread, new=not thread)
        line = plain_text(me.sub("", text)) or "help"
        origin = Origin(f"{channel}:{event['ts']}", team)
        await self.handle_message(line, event["user"], place, origin, free=True)

    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        """Where replies go: into the channel if the bot is a member, else to the person alone."""
        channel = place.channel
        if channel and await self._people.check_channel(channel):
            return place, replace(origin, direct=channel.startswith("D"))
        direct = await self._context.web.open_direct_channel(user.id)
        if origin.answer_to:
            with suppress(SlackRefused):
                await self._context.web.respond(
                    origin.answer_to, self.say_in(user.locale)(t("chat.not_here"))
                )
        return Place("slack", direct), replace(origin, direct=True, card="", sent="")


def plain_text(text: str) -> str:
    """The text as it was typed: links as their words, people and channels as ids, no escapes."""
    text = _LINK.sub(lambda found: found[1] or found[2], text)
    return html.unescape(_NAMED.sub(r"<\1>", text)).strip()
