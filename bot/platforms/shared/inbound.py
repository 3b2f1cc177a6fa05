"""What people do in a chat, from the first look at who they are to the last reply."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from time import monotonic
from typing import Any

import structlog

from bot.core.chat.errors import UserError, refusal
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import Say, t
from bot.core.counters import FIRST_REPLY
from bot.platforms.shared.dedup import Dedup
from bot.platforms.shared.platform import Handle, Refused, next_reply
from bot.platforms.shared.presenter import Origin, Presenter
from bot.platforms.shared.threads import Threads

AT_ONCE = 1000
"""Requests in work; what comes on top of them is dropped, with a line in the log."""
A_MOMENT = 1.5
SUBMIT_SECONDS = 2.0
"""Slack waits three for a form; a command that has said nothing bad by then is on its way."""

Body = dict[str, Any]
Replies = AsyncGenerator[Reply, str | None]

log = structlog.get_logger()


class Inbound(ABC):
    """Every request is a task of its own: a slow answer delays nobody else."""

    def __init__(self, handle: Handle, say_in: Callable[[str], Say], threads: Threads) -> None:
        self.handle, self.say_in, self._threads = handle, say_in, threads
        self._seen = Dedup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._presenting: dict[str, tuple[asyncio.Task[Any], str]] = {}
        self._closing = False

    @abstractmethod
    async def person(self, user: str, team: str) -> User:
        """Who it is; UserError when the bot is not for this one."""

    @abstractmethod
    async def placed(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        """Where replies go: into the channel; to the person alone where the bot is no member."""

    @abstractmethod
    def presenter(self, message: Message, origin: Origin, say: Say) -> Presenter:
        """What shows the replies."""

    def first(self, *keys: str) -> bool:
        """Not heard before."""
        return self._seen.first(keys)

    def again(self, key: str) -> None:
        """It may be heard once more."""
        self._seen.forget(key)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
        """Do it in the background; a bug in it is logged."""
        if len(self._tasks) >= AT_ONCE:
            work.close()
            log.error("too much at once", tasks=len(self._tasks))
            return None
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("chat", exc_info=error)

    async def close(self) -> None:
        """End what goes on; what was said so far stays, and says that it was cut. What only waits goes on
        after a restart."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hear(
        self, text: str, user: str, place: Place, origin: Origin, *, free: bool = False, about: str = ""
    ) -> None:
        """Somebody said something to the bot."""
        person = User(user, user, "")
        try:
            person = await self.person(user, origin.team)
            place, origin = await self.placed(place, person, origin)
        except UserError as error:
            await self._refuse(error, person, place, origin)
            return
        await self.converse(Message(text, person, place, free, about), origin)

    async def resume(self, place: Place, message: str) -> bool:
        """A request goes on in the message that waits for it; False if that waits no more."""
        event = await self._threads.waits(place.channel, message)
        if event is None:
            return False
        origin = Origin(event["key"], event["team"], sent=message)
        place = replace(place, thread=event["thread"])
        self.start(self.hear(event["line"], event["user"], place, origin))
        return True

    async def fill(
        self, line: str, user: str, place: Place, origin: Origin, about: str = ""
    ) -> tuple[Reply | None, Say]:
        """A form was sent: what is wrong, to say in it; nothing when the command is on its way."""
        say = self.say_in("")
        try:
            person = await self.person(user, origin.team)
            say = self.say_in(person.locale)
            place, origin = await self.placed(place, person, origin)
        except UserError as error:
            return refusal(error, private=True), say
        message = Message(line, person, place, about=about)
        replies = self.handle(message)
        first = asyncio.ensure_future(next_reply(replies, None))
        await asyncio.wait({first}, timeout=SUBMIT_SECONDS)
        reply = first.result() if first.done() else None
        if reply is not None and reply.private and reply.tone is Tone.FAILED:
            await replies.aclose()
            return reply, say
        self.start(self.converse(message, origin, replies, first))
        return None, say

    async def stop_answer(self, key: str, user: str, place: Place, origin: Origin) -> None:
        """Somebody wants no more of an answer: whoever asked may."""
        person = User(user, user, "")
        try:
            person = await self.person(user, origin.team)
            if key not in self._presenting:
                raise UserError(t("chat.answer_over"))
            task, asker = self._presenting[key]
            if user != asker:
                raise UserError(t("chat.not_your_answer"))
            task.cancel()
        except UserError as error:
            await self._refuse(error, person, place, origin)

    async def converse(
        self,
        message: Message,
        origin: Origin,
        replies: Replies | None = None,
        first: asyncio.Future[Reply | None] | None = None,
    ) -> None:
        """Show every reply as it comes."""
        presenter = self.presenter(message, origin, self.say_in(message.user.locale))
        task = asyncio.current_task()
        assert task is not None
        self._presenting[origin.key] = (task, message.user.id)
        patience, begun = asyncio.create_task(_patience(presenter)), monotonic()
        try:
            async with aclosing(replies or self.handle(message)) as coming:
                reply = await (first or next_reply(coming, None))
                FIRST_REPLY.labels(message.place.platform).observe(monotonic() - begun)
                while reply is not None:
                    patience.cancel()
                    reply = await next_reply(coming, await presenter.show(reply))
            await presenter.end()
        except asyncio.CancelledError:
            if not (self._closing and presenter.waits):
                await presenter.end(stopped=True)
        except Refused as error:
            log.warning("not said", why=error.code, channel=message.place.channel)
        finally:
            patience.cancel()
            self._presenting.pop(origin.key, None)

    async def _refuse(self, error: UserError, person: User, place: Place, origin: Origin) -> None:
        nothing = Message("", person, place)
        presenter = self.presenter(nothing, replace(origin, card="", trigger=""), self.say_in(person.locale))
        with suppress(Refused):
            await presenter.show(refusal(error, private=True))


async def _patience(presenter: Presenter) -> None:
    await asyncio.sleep(A_MOMENT)
    with suppress(Refused):
        await presenter.wait()
