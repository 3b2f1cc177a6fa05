"""Questions that wait until a model is ready: how many may, and how they outlive the bot."""

from collections import defaultdict
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
        self._people: defaultdict[str, list[str]] = defaultdict(list)
        self._messages: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        self._closing = False

    @contextmanager
    def among_others(self, name: str, user: str) -> Iterator[None]:
        """A person's question waits for the model; UserError when too many do."""
        if len(self._people[name]) >= OF_A_MODEL:
            raise UserError(t("ask.crowd", name=name, count=OF_A_MODEL))
        if sum(line.count(user) for line in self._people.values()) >= OF_A_PERSON:
            raise UserError(t("ask.patience", count=OF_A_PERSON))
        self._people[name].append(user)
        try:
            yield
        finally:
            self._people[name].remove(user)

    def waiting_for(self, name: str) -> Sequence[str]:
        """Ids of the people whose questions wait for a model, one for each question."""
        return self._people.get(name, ())

    async def begins(self, name: str, place: Place, message: str) -> None:
        """A message says that its question waits."""
        if message not in self._messages[name]:
            self._messages[name][message] = place
            await self._remember(name)

    async def ends(self, name: str, message: str) -> None:
        """It was answered, cannot be, or was given up; but not because the bot ends."""
        if message in self._messages[name] and not self._closing:
            del self._messages[name][message]
            await self._remember(name)

    async def run(self) -> None:
        """Whatever waits on the cluster and not here waited when the bot ended: it goes on; for ever."""
        try:
            while True:
                for workload in self._cluster.workloads():
                    for message, place in workload.record.pending_questions.items():
                        if message not in self._messages[workload.name]:
                            await self._go_on(workload.name, place, message)
                await self._clock.sleep(LOOK_EVERY)
        finally:
            self._closing = True

    async def _go_on(self, name: str, place: Place, message: str) -> None:
        self._messages[name][message] = place
        try:
            if not await self._messenger.resume(place, message):
                await self.ends(name, message)
        except UserError as error:  # its chat is away: later
            del self._messages[name][message]
            log.info("waits for its chat", workload=name, why=error.text.key)

    async def _remember(self, name: str) -> None:
        try:
            await self._cluster.update_record(name, pending_questions=self._messages[name])
        except UserError as error:
            log.warning("not remembered", workload=name, why=error.text.key)
