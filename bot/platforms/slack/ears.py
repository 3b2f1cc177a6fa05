"""What people do in Slack, from the first look at who they are to the last reply."""

import asyncio
import html
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import structlog

from bot.core.errors import UserError
from bot.core.message import Message, Place, User
from bot.core.reply import Reply, Tone
from bot.core.text import t
from bot.platforms.base import Handle, Say, next_reply
from bot.platforms.slack.people import People
from bot.platforms.slack.seen import Seen
from bot.platforms.slack.talk import Desk, Origin, Talk
from bot.platforms.slack.web import SlackRefused

AT_ONCE = 1000
"""Requests in work; what comes on top of them is dropped, with a line in the log."""
A_MOMENT = 1.5

Body = dict[str, Any]
Replies = AsyncGenerator[Reply, str | None]
_LINK = re.compile(r"<(?:https?|mailto):[^|>]*\|([^>]*)>|<((?:https?|mailto):[^>]*)>")
_NAMED = re.compile(r"<([@#][A-Z0-9]+)\|[^>]*>")

log = structlog.get_logger()


class Ears:
    """Every request is a task of its own: a slow answer delays nobody else."""

    def __init__(self, desk: Desk, people: People, handle: Handle, say_in: Callable[[str], Say]) -> None:
        self._desk, self._web, self._people = desk, desk.web, people
        self._handle, self._say_in = handle, say_in
        self._seen = Seen()
        self._tasks: set[asyncio.Task[None]] = set()
        self._talking: dict[str, tuple[asyncio.Task[Any], str]] = {}

    def first(self, *keys: str) -> bool:
        """Not heard before."""
        return self._seen.first(keys)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in the background; a bug in it is logged."""
        if len(self._tasks) >= AT_ONCE:
            work.close()
            log.error("too much at once", tasks=len(self._tasks))
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("slack", exc_info=error)

    async def close(self) -> None:
        """End what goes on; what was said so far stays, and says that it was cut."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hear(
        self, text: str, user: str, place: Place, origin: Origin, *, free: bool = False, about: str = ""
    ) -> None:
        """Somebody said something to the bot."""
        try:
            person = await self._people.user(user, origin.team)
            place, origin = await self.placed(place, person, origin)
        except UserError as error:
            await self._refuse(error, user, place, origin)
            return
        await self.converse(Message(text, person, place, free, about), origin)

    async def overhear(self, event: Body, team: str) -> None:
        """A message of a conversation that the bot is in; it may be for the bot."""
        text, channel, thread = event.get("text", ""), event["channel"], event.get("thread_ts", "")
        threads = self._desk.threads
        me = re.compile(rf"<@{threads.bot}(\|[^>]*)?>")
        if not event.get("user") or event["user"] == threads.bot:
            return
        if event.get("channel_type") != "im" and not me.search(text):
            to_somebody_else = text.startswith("<@")
            if not thread or to_somebody_else or not await threads.takes_part(channel, thread):
                return
        place = Place("slack", channel, thread or event["ts"])
        threads.join(channel, place.thread, new=not thread)
        said = plain_text(me.sub("", text)) or "help"
        origin = Origin(f"{channel}:{event['ts']}", team)
        await self.hear(said, event["user"], place, origin, free=True)

    async def stop_answer(self, key: str, user: str, place: Place, origin: Origin) -> None:
        """Somebody wants no more of an answer: whoever asked may."""
        try:
            await self._people.user(user, origin.team)
            if key not in self._talking:
                raise UserError(t("slack.answer_over"))
            task, asker = self._talking[key]
            if user != asker:
                raise UserError(t("slack.not_your_answer"))
            task.cancel()
        except UserError as error:
            await self._refuse(error, user, place, origin)

    async def placed(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        """Where replies go: into the channel; to the person alone where the bot is no member."""
        channel = place.channel
        if channel and await self._people.check_channel(channel):
            return place, replace(origin, direct=channel.startswith("D"))
        direct = await self._web.direct(user.id)
        if origin.answer_to:
            with suppress(SlackRefused):
                await self._web.respond(origin.answer_to, self._say_in(user.locale)(t("slack.not_here")))
        return Place("slack", direct), replace(origin, direct=True, card="")

    async def converse(
        self,
        message: Message,
        origin: Origin,
        replies: Replies | None = None,
        first: asyncio.Future[Reply | None] | None = None,
    ) -> None:
        """Show every reply as it comes."""
        talk = Talk(self._desk, message, origin, self._say_in(message.user.locale))
        task = asyncio.current_task()
        assert task is not None
        self._talking[origin.key] = (task, message.user.id)
        patience = asyncio.create_task(_patience(talk))
        try:
            async with aclosing(replies or self._handle(message)) as coming:
                reply = await (first or next_reply(coming, None))
                while reply is not None:
                    patience.cancel()
                    reply = await next_reply(coming, await talk.show(reply))
            await talk.end()
        except asyncio.CancelledError:
            await talk.end(stopped=True)
        except SlackRefused as error:
            log.warning("not said", why=error.code, channel=message.place.channel)
        finally:
            patience.cancel()
            self._talking.pop(origin.key, None)

    async def _refuse(self, error: UserError, user: str, place: Place, origin: Origin) -> None:
        nobody = Message("", User(user, user), place)
        talk = Talk(self._desk, nobody, replace(origin, card="", trigger=""), self._say_in(""))
        with suppress(SlackRefused):
            await talk.show(refusal(error))


async def _patience(talk: Talk) -> None:
    await asyncio.sleep(A_MOMENT)
    await talk.wait()


def refusal(error: UserError) -> Reply:
    """What a person is told alone."""
    return Reply(error.text, Tone.FAILED, lines=error.lines, buttons=error.buttons, private=True)


def plain_text(text: str) -> str:
    """What was typed: links as their words, people and channels as ids, no escapes."""
    text = _LINK.sub(lambda found: found[1] or found[2], text)
    return html.unescape(_NAMED.sub(r"<\1>", text)).strip()
