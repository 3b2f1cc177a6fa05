"""Questions that wait until a model is ready: how many may, and how they outlive the bot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.text import t
from bot.core.ports import Clock, Messenger, Workloads

OF_A_MODEL, OF_A_PERSON = 20, 3
LOOK_EVERY = 5.0

log = structlog.get_logger()


class PendingQuestions:
    """Where a question waits is remembered on the cluster; what it is, in its own message."""

    def __init__(self, cluster: Workloads, messenger: Messenger, clock: Clock) -> None:
        self._cluster, self._messenger, self._clock = cluster, messenger, clock
        self._people: dict[str, list[str]] = {}
        """Ids of those whose questions wait, by model; a model that nobody waits for is not in it."""
        self._messages: dict[str, dict[str, Place]] = {}
        """The messages that wait, by model, and their places; likewise."""
        self._closing = False

    @contextmanager
    def among_others(self, name: str, user: str) -> Iterator[None]:
        """A person's question waits for the model; UserError when too many do."""
        if len(self._people.get(name, ())) >= OF_A_MODEL:
            raise UserError(t("ask.crowd", name=name, count=OF_A_MODEL))
        if sum(line.count(user) for line in self._people.values()) >= OF_A_PERSON:
            raise UserError(t("ask.patience", count=OF_A_PERSON))
        self._people.setdefault(name, []).append(user)
        try:
            yield
        finally:
            self._people[name].remove(user)
            if not self._people[name]:
                del self._people[name]

    def waiting_for(self, name: str) -> Sequence[str]:
        """Ids of the people whose questions wait for a model, one for each question."""
        return self._people.get(name, ())

    async def begins(self, name: str, place: Place, message: str) -> None:
        """A message says that its question waits. One in a terminal goes with it, and is not remembered."""
        known = message in self._messages.get(name, {})
        if not known and not self._messenger.alone_shows(place, message):
            self._messages.setdefault(name, {})[message] = place
            await self._remember(name)

    async def ends(self, name: str, message: str) -> None:
        """It was answered, cannot be, or was given up; but not because the bot ends."""
        if message in self._messages.get(name, {}) and not self._closing:
            self._drop(name, message)
            await self._remember(name)

    def close(self) -> None:
        """The bot ends: what waits now is not given up, and goes on when it is back."""
        self._closing = True

    async def run(self) -> None:
        """Whatever waits on the cluster and not here waited when the bot ended: it goes on; for ever."""
        while True:
            for workload in self._cluster.workloads():
                known = set(self._messages.get(workload.name, {}))
                for message, place in workload.record.pending_questions.items():
                    if message not in known and self._messenger.reaches(place):
                        await self._go_on(workload.name, place, message)
            await self._clock.sleep(LOOK_EVERY)

    async def _go_on(self, name: str, place: Place, message: str) -> None:
        self._messages.setdefault(name, {})[message] = place
        try:
            if not await self._messenger.resume(place, message):
                await self.ends(name, message)
        except UserError as error:  # its chat is away: later
            self._drop(name, message)
            log.info("question.waits_for_its_chat", workload=name, why=error.text.key)

    def _drop(self, name: str, message: str) -> None:
        del self._messages[name][message]
        if not self._messages[name]:
            del self._messages[name]

    async def _remember(self, name: str) -> None:
        try:
            await self._cluster.update_record(name, pending_questions=self._messages.get(name, {}))
        except UserError as error:
            log.warning("question.not_remembered", workload=name, why=error.text.key)
