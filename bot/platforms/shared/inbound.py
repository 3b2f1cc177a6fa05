"""Requests from a chat: who asks, where replies go, and showing every reply."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from time import monotonic
from typing import Any

import structlog

from bot.core.chat.errors import Bug, UserError, refusal
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import Say, t
from bot.core.counters import FIRST_REPLY, REFUSED
from bot.core.personal_limit import Entry, PersonalLimit
from bot.platforms.shared.dedup import Dedup
from bot.platforms.shared.platform import Handle, Refused, next_reply
from bot.platforms.shared.presenter import Origin, Presenter
from bot.platforms.shared.threads import Threads

MOST_TASKS = 1000
"""Requests at work at once; any more are dropped, with a line in the log."""
OF_A_PERSON = 20
"""Requests of one person at work at once; who sends more is told so, once a minute."""
TASKS_OF_A_PERSON = 2 * OF_A_PERSON
"""Those and the ones that are about to be refused; what comes beside them is not even looked at."""
WAIT_NOTICE_SECONDS = 1.5
"""Whoever has no reply after so long is shown that it takes a moment."""
SUBMIT_SECONDS = 2.0
"""Slack waits three for the answer to a form; a command that was not refused by then is under way."""

Body = dict[str, Any]
Replies = AsyncGenerator[Reply, str | None]

log = structlog.get_logger()


class Inbound(ABC):
    """Takes the requests of one platform; each is a task of its own, so that a slow answer delays nobody."""

    def __init__(self, handle: Handle, say_in: Callable[[str], Say], threads: Threads) -> None:
        self.handle, self.say_in, self._threads = handle, say_in, threads
        self._dedup = Dedup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tasks_of: Counter[str] = Counter()
        """By person; only people who have any."""
        self._limit = PersonalLimit(OF_A_PERSON, "requests of a person")
        self._presenting: dict[str, tuple[asyncio.Task[Any], str]] = {}
        self._closing = False

    @abstractmethod
    async def person(self, user: str, team: str) -> User:
        """The person with this id; UserError when the bot is not for them."""

    @abstractmethod
    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        """Where replies go: into the channel; to the person alone where the bot is no member."""

    @abstractmethod
    def presenter(self, message: Message, origin: Origin, say: Say) -> Presenter:
        """What shows the replies."""

    def is_new(self, *keys: str) -> bool:
        """None of these ids was seen before."""
        return self._dedup.is_new(keys)

    def forget(self, key: str) -> None:
        """A request with this id may come again."""
        self._dedup.forget(key)

    def start(self, work: Coroutine[Any, Any, None], user: str = "") -> "asyncio.Task[None] | None":
        """Run it as a task, which `user` has caused, if a person has; an exception in it is logged. None if
        too many are running."""
        if user and self._tasks_of[user] >= TASKS_OF_A_PERSON:
            work.close()
            REFUSED.labels("tasks of a person").inc()  # one before was told
            return None
        if len(self._tasks) >= MOST_TASKS:
            work.close()
            REFUSED.labels("tasks").inc()
            log.error("requests.too_many", tasks=len(self._tasks))
            return None
        task = asyncio.create_task(work)
        self._tasks_of[user] += 1
        task.add_done_callback(lambda _: self._left(user))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def start_for(self, user: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run what a person has caused and expects no reply to; nothing if too much of theirs is running."""
        self.start(self._within_limit(user, work), user)

    async def _within_limit(self, user: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with self._limit.entering(user) as entry:
            if entry is Entry.ADMITTED:
                await work()

    def _left(self, user: str) -> None:
        self._tasks_of[user] -= 1
        if not self._tasks_of[user]:
            del self._tasks_of[user]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("request.failed", exc_info=error)

    async def close(self) -> None:
        """End all requests: an answer stays as far as it came, marked as cut; a question that waits for its
        model goes on after a restart."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def handle_message(
        self, text: str, user: str, place: Place, origin: Origin, *, free: bool = False, about: str = ""
    ) -> None:
        """Identify the person, find the place, and answer; once for all if too many of theirs are at work."""
        with self._limit.entering(user) as entry:
            if entry is Entry.REFUSED_AGAIN:
                return
            person = User(user, user, "")
            try:
                person = await self.person(user, origin.team)
                place, origin = await self.resolve_place(place, person, origin)
                if entry is Entry.REFUSED:
                    raise UserError(t("chat.too_many", count=OF_A_PERSON))
            except UserError as error:
                await self._refuse(error, person, place, origin)
                return
            await self.converse(Message(text, person, place, free, about), origin)

    async def resume(self, place: Place, message: str) -> bool:
        """Go on with the request that a message is waiting for, until it is over; False when too many are at
        work."""
        event = await self._threads.find_waiting(place.channel, message)
        if event is None:
            return True
        if self._limit.is_reached(event["user"]):
            return False
        origin = Origin(event["key"], event["team"], sent=message)
        place = replace(place, thread=event["thread"])
        if "line" not in event:
            person = User(event["user"], event["user"], "")
            await self._refuse(UserError(t("chat.sealed")), person, place, origin)
            return True
        task = self.start(self.handle_message(event["line"], event["user"], place, origin))
        if task is None:
            return False
        await asyncio.wait({task})
        return True

    async def submit_form(
        self, line: str, user: str, place: Place, origin: Origin, about: str = ""
    ) -> tuple[Reply | None, Say]:
        """Run the line of a form: the refusal to show in it, or None when the command is under way; and how
        to speak to the person."""
        say = self.say_in("")
        try:
            if self._limit.is_reached(user):
                raise UserError(t("chat.too_many", count=OF_A_PERSON))
            person = await self.person(user, origin.team)
            say = self.say_in(person.locale)
            place, origin = await self.resolve_place(place, person, origin)
        except UserError as error:
            return refusal(error, private=True), say
        with self._limit.entering(user):
            return await self._submit(Message(line, person, place, about=about), origin), say

    async def _submit(self, message: Message, origin: Origin) -> Reply | None:
        """Run it: the refusal if one comes soon; else it goes on, and is shown as usual."""
        replies = self.handle(message)
        first = asyncio.ensure_future(next_reply(replies, None))
        await asyncio.wait({first}, timeout=SUBMIT_SECONDS)
        reply = first.result() if first.done() else None
        if reply is not None and reply.private and reply.tone is Tone.FAILED:
            await replies.aclose()
            return reply
        self.start(self.converse(message, origin, replies, first), message.user.id)
        return None

    async def stop_answer(self, key: str, user: str, place: Place, origin: Origin) -> None:
        """Stop an answer; only the person who asked may."""
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
        """Run a message, and show each reply as it comes."""
        presenter = self.presenter(message, origin, self.say_in(message.user.locale))
        task = asyncio.current_task()
        assert task is not None
        self._presenting[origin.key] = (task, message.user.id)
        notice = asyncio.create_task(_notice_of_waiting(presenter))
        try:
            await self._show_all(presenter, notice, message, replies or self.handle(message), first)
        except asyncio.CancelledError:
            if not (self._closing and presenter.is_waiting):
                await presenter.end(stopped=True)
        except Refused as error:
            log.warning("reply.refused", why=error.code, channel=message.place.channel)
        except Exception:
            bug = Bug()
            log.exception("reply.not_shown", user=message.user.id, id=bug.id)
            await self._show_alone(bug.reply, message, replace(origin, sent=""))
        finally:
            notice.cancel()
            self._presenting.pop(origin.key, None)

    async def _show_all(
        self,
        presenter: Presenter,
        notice: asyncio.Task[None],
        message: Message,
        replies: Replies,
        first: asyncio.Future[Reply | None] | None,
    ) -> None:
        """Show each reply as it comes; with the first one the `notice` is over."""
        begun = monotonic()
        async with aclosing(replies) as coming:
            reply = await (first or next_reply(coming, None))
            FIRST_REPLY.labels(message.place.platform).observe(monotonic() - begun)
            while reply is not None:
                notice.cancel()
                reply = await next_reply(coming, await presenter.show(reply))
        await presenter.end()

    async def _refuse(self, error: UserError, person: User, place: Place, origin: Origin) -> None:
        await self._show_alone(refusal(error, private=True), Message("", person, place), origin)

    async def _show_alone(self, reply: Reply, message: Message, origin: Origin) -> None:
        """Show a reply that is about no card and no form; in the place of what waited for it, if that did."""
        origin = replace(origin, card="", trigger="")
        presenter = self.presenter(message, origin, self.say_in(message.user.locale))
        with suppress(Refused):
            await presenter.show(reply)


async def _notice_of_waiting(presenter: Presenter) -> None:
    await asyncio.sleep(WAIT_NOTICE_SECONDS)
    with suppress(Refused):
        await presenter.show_waiting()
