"""Questions that wait until a model is ready: how many may wait, and how they go on after a restart."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

import structlog

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.text import t
from bot.core.deployment.workload import Workload
from bot.core.ports import Clock, Messenger, Workloads

OF_A_MODEL, OF_A_PERSON = 20, 3
"""Questions that may wait for one model, and of one person, at the same time."""
LOOK_EVERY = 5.0
"""Seconds between two looks for questions that waited when the bot ended."""

log = structlog.get_logger()


class PendingQuestions:
    """Keeps track of questions that wait. The cluster stores where their messages are; the messages
    themselves store the questions (`Reply.again`)."""

    def __init__(self, cluster: Workloads, messenger: Messenger, clock: Clock, bulkhead: Bulkhead) -> None:
        self._cluster, self._messenger, self._clock = cluster, messenger, clock
        self._bulkhead = bulkhead
        self._people: dict[str, list[str]] = {}
        """User ids, one for each question that waits, by model; only models that somebody waits for."""
        self._messages: dict[str, dict[str, Place]] = {}
        """The places of messages that wait, by model and message id; only models that somebody waits for."""
        self._storing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held while the messages of a model, by its name, are stored."""
        self._closing = False

    @contextmanager
    def waiting(self, name: str, user: str) -> Iterator[None]:
        """Count a person's question to the model as waiting during the block; UserError when too many
        wait."""
        if len(self._people.get(name, ())) >= OF_A_MODEL:
            raise UserError(t("ask.crowd", name=name, count=OF_A_MODEL))
        if sum(ids.count(user) for ids in self._people.values()) >= OF_A_PERSON:
            raise UserError(t("ask.patience", count=OF_A_PERSON))
        self._people.setdefault(name, []).append(user)
        try:
            yield
        finally:
            self._people[name].remove(user)
            if not self._people[name]:
                del self._people[name]

    def waiting_for(self, name: str) -> Sequence[str]:
        """The user ids of people whose questions wait for a model, one for each question."""
        return self._people.get(name, ())

    async def add(self, name: str, place: Place, message: str) -> None:
        """Store that a message waits for the model, so that its question goes on after a restart. One in a
        terminal is not stored: it is gone with the terminal."""
        known = message in self._messages.get(name, {})
        if not known and not self._messenger.alone_shows(place, message):
            self._messages.setdefault(name, {})[message] = place
            await self._store(name, message, place)

    async def remove(self, name: str, message: str) -> None:
        """Forget a message: its question was answered, refused or given up. While the bot ends, nothing is
        forgotten."""
        if message in self._messages.get(name, {}) and not self._closing:
            await self._store(name, message, None)
            self._forget(name, message)

    def close(self) -> None:
        """Forget nothing from now on: the bot ends, and what waits goes on after its restart."""
        self._closing = True

    async def run(self) -> None:
        """Resume the questions that waited when the bot ended: those that are stored on the cluster, but not
        known here, in places that this process reaches. It never ends."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for workload in self._cluster.workloads():
                    here = self._messages.get(workload.name, {})
                    for message, place in workload.record.pending_questions.items():
                        if message not in here and self._messenger.reaches(place):
                            tasks.create_task(self._resume(workload.name, place, message))
                await self._clock.sleep(LOOK_EVERY)

    async def tell_gone(self, workload: Workload) -> None:
        """The workload was removed, and what its record knew with it: go on with the questions that waited
        for it since before a bot ended, so that each is told that it waits for nothing."""
        here = self._messages.get(workload.name, {})
        for message, place in workload.record.pending_questions.items():
            if message not in here and self._messenger.reaches(place):
                await self._resume(workload.name, place, message)

    async def _resume(self, name: str, place: Place, message: str) -> None:
        """Resume one question until it is over; if that cannot be done now, `run` tries again later."""
        self._messages.setdefault(name, {})[message] = place
        over = False
        with self._bulkhead.isolated(WorkKind.QUESTION, name):
            over = await self._try_to_resume(name, place, message)
            if over:
                await self.remove(name, message)
        if pause := self._bulkhead.pause(name, WorkKind.QUESTION):
            await self._clock.sleep(pause)
        self._forget(name, message)

    async def _try_to_resume(self, name: str, place: Place, message: str) -> bool:
        try:
            return await self._messenger.resume(place, message)
        except UserError as error:
            log.info("question.waits_for_its_chat", workload=name, why=error.text.key)
        return False

    def _forget(self, name: str, message: str) -> None:
        here = self._messages.get(name, {})
        here.pop(message, None)
        if not here:
            self._messages.pop(name, None)

    async def _store(self, name: str, message: str, place: Place | None) -> None:
        """Add a message to those that are stored on the cluster, by whichever process; without a place, take
        it away. One at a time, so that each starts from what the one before has stored."""
        async with self._storing.setdefault(name, asyncio.Lock()):
            workload = self._cluster.find(name)
            if workload is None:
                return
            known = workload.record.pending_questions
            waiting = {other: where for other, where in known.items() if other != message}
            if place is not None:
                waiting[message] = place
            try:
                await self._cluster.update_record(name, pending_questions=waiting)
            except UserError as error:
                log.warning("question.not_remembered", workload=name, why=error.text.key)
