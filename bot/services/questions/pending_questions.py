"""Questions that wait until a model is ready: how many may wait, and how they go on after a restart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.text import t
from bot.core.ports import Clock, Messenger, Workloads

OF_A_MODEL, OF_A_PERSON = 20, 3
"""Questions that may wait for one model, and of one person, at the same time."""
LOOK_EVERY = 5.0
"""Seconds between two looks for questions that waited when the bot ended."""

log = structlog.get_logger()


class PendingQuestions:
    """Keeps track of questions that wait. The cluster stores where their messages are; the messages
    themselves store the questions (`Reply.again`)."""

    def __init__(self, cluster: Workloads, messenger: Messenger, clock: Clock) -> None:
        self._cluster, self._messenger, self._clock = cluster, messenger, clock
        self._people: dict[str, list[str]] = {}
        """User ids, one for each question that waits, by model; only models that somebody waits for."""
        self._messages: dict[str, dict[str, Place]] = {}
        """The places of messages that wait, by model and message id; only models that somebody waits for."""
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
            await self._store(name)

    async def remove(self, name: str, message: str) -> None:
        """Forget a message: its question was answered, refused or given up. While the bot ends, nothing is
        forgotten."""
        if message in self._messages.get(name, {}) and not self._closing:
            self._forget(name, message)
            await self._store(name)

    def close(self) -> None:
        """Forget nothing from now on: the bot ends, and what waits goes on after its restart."""
        self._closing = True

    async def run(self) -> None:
        """Resume the questions that waited when the bot ended: those that are stored on the cluster, but not
        known here, in places that this process reaches. It never ends."""
        while True:
            for workload in self._cluster.workloads():
                known = set(self._messages.get(workload.name, {}))
                for message, place in workload.record.pending_questions.items():
                    if message not in known and self._messenger.reaches(place):
                        await self._resume(workload.name, place, message)
            await self._clock.sleep(LOOK_EVERY)

    async def _resume(self, name: str, place: Place, message: str) -> None:
        self._messages.setdefault(name, {})[message] = place
        try:
            if not await self._messenger.resume(place, message):
                await self.remove(name, message)
        except UserError as error:  # its chat is away: later
            self._forget(name, message)
            log.info("question.waits_for_its_chat", workload=name, why=error.text.key)

    def _forget(self, name: str, message: str) -> None:
        del self._messages[name][message]
        if not self._messages[name]:
            del self._messages[name]

    async def _store(self, name: str) -> None:
        try:
            await self._cluster.update_record(name, pending_questions=self._messages.get(name, {}))
        except UserError as error:
            log.warning("question.not_remembered", workload=name, why=error.text.key)
