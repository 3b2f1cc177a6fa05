"""Keeps the card of every deployment up to date."""

import asyncio

import structlog

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.cards import card
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import IdlePolicy
from bot.core.ports import Clock, Messenger, Workloads
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.startup.progress import StartupProgress
from bot.services.startup.smoke_test import SmokeTest
from bot.services.startup.start_recorder import StartRecorder, is_settled

ABOUT_A_START = (WorkKind.END, WorkKind.SMOKE_TEST, WorkKind.START, WorkKind.CARD)
"""What is done about a model whenever something about it changes."""
ASK_EVERY = 3.0
"""Seconds until a model that did not pass its smoke test is tested again, and a failure looked at again."""

log = structlog.get_logger()


class CardUpdater:
    """Edits the card of a workload whenever something about it changes on the cluster."""

    def __init__(
        self,
        cluster: Workloads,
        messenger: Messenger,
        clock: Clock,
        policy: IdlePolicy,
        gpu_queue: GpuQueue,
        progress: StartupProgress,
        smoke_test: SmokeTest,
        start_recorder: StartRecorder,
        gpus_per_node: int,
        bulkhead: Bulkhead,
    ) -> None:
        self._cluster = cluster
        self._messenger = messenger
        self._clock, self._policy, self._gpu_queue = clock, policy, gpu_queue
        self._progress, self._smoke_test = progress, smoke_test
        self._start_recorder, self._gpus_per_node = start_recorder, gpus_per_node
        self._bulkhead = bulkhead
        self._shown: dict[str, tuple[Record, Reply]] = {}
        self._due: set[str] = set()
        self._untested: set[str] = set()
        self._refreshing: set[str] = set()
        self._guest = False
        self._news: dict[str, str] = {}
        """While another process leads: the last `Workload.news` of each card in this process's terminal, by
        workload."""

    async def run_as_guest(self) -> None:
        """While another process leads: update only the cards in this process's terminal, and store nothing on
        the cluster; it never ends."""
        self._guest = True
        try:
            await self.run()
        finally:
            self._guest = False

    async def run(self) -> None:
        """Bring all cards up to date, then follow changes; it never ends."""
        for names in (self._due, self._untested, self._refreshing):
            names.clear()  # a run that was cancelled may have left some
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_changes(tasks))
            tasks.create_task(self._follow_progress(tasks))
            tasks.create_task(self._test_again(tasks))

    async def _follow_changes(self, tasks: asyncio.TaskGroup) -> None:
        with self._cluster.changes() as names:
            for workload in self._cluster.workloads():
                self._changed(workload.name, tasks)
            async for name in names:
                self._changed(name, tasks)
                for workload in self._cluster.workloads():  # places in the queue may have changed
                    if workload.record.queued_since:
                        self._changed(workload.name, tasks)

    def _changed(self, name: str, tasks: asyncio.TaskGroup) -> None:
        """Update this card in a task of its own: if the chat is slow about one card, the others do not
        wait."""
        self._due.add(name)
        if name not in self._refreshing:
            self._refreshing.add(name)
            tasks.create_task(self._until_shown(name))

    async def _until_shown(self, name: str) -> None:
        while name in self._due:
            self._due.discard(name)
            with self._bulkhead.isolated(WorkKind.CARD, name):
                await self._refresh(name)
            if pause := self._bulkhead.pause(name, *ABOUT_A_START):
                self._due.add(name)  # what has failed is tried again, and nobody else waits for it
                await self._clock.sleep(pause)
        self._refreshing.discard(name)

    async def _follow_progress(self, tasks: asyncio.TaskGroup) -> None:
        with self._progress.changes() as names:
            async for name in names:
                self._changed(name, tasks)

    async def _test_again(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._clock.sleep(ASK_EVERY)
            for name in self._untested:
                self._changed(name, tasks)

    async def _refresh(self, name: str) -> None:
        """Make the card of a workload show how it is now. That of one which nobody can read stays as it
        is."""
        workload = self._cluster.find(name)
        if workload is None:
            if object_name(name) not in (*self._cluster.unreadable(), *self._cluster.written_by_newer()):
                await self._gone(name)
            return
        if not self._guest:
            with self._bulkhead.isolated(WorkKind.END, name):
                workload = await self._start_recorder.note_end(workload)
        if not self._is_own_card(workload.record):
            return
        self._untested.discard(name)
        if self._guest and not is_settled(workload, self._clock.now()):
            self._untested.add(name)  # the process that leads is about to read why it failed
            return
        passed = False
        with self._bulkhead.isolated(WorkKind.SMOKE_TEST, name):
            passed = await self._smoke_test.passed(workload)
        if not passed:
            self._untested.add(name)
            return
        await self._show(await self._noted_ready(workload))

    async def _noted_ready(self, workload: Workload) -> Workload:
        """The workload once it is written down that it is ready, if it is."""
        if not self._guest:
            with self._bulkhead.isolated(WorkKind.START, workload.name):
                nonsense = self._smoke_test.nonsense(workload)
                return await self._start_recorder.note_ready(workload, nonsense)
        return workload

    async def _show(self, workload: Workload) -> None:
        name = workload.name
        record = workload.record
        shown_before = name not in self._shown and self._shown_news(workload) == workload.news
        if not record.card_message_id or record.card_place is None or shown_before:
            return
        reply = card(
            workload,
            self._clock.now(),
            progress=self._progress.of(workload),
            nodes=self._cluster.nodes(),
            address=self._cluster.address(name),
            position=self._gpu_queue.position(workload),
            gpus_per_node=self._gpus_per_node,
            sleeps_after=self._policy.window_of(workload) if self._policy.act else None,
        )
        if self._same(name, record, reply, workload):
            return
        if not await self._edit(record, reply):
            return
        self._shown[name] = (record, reply)
        if workload.phase.settled:
            await self._announced(workload, workload.news)
        elif self._shown_news(workload).startswith(workload.start_news):
            await self._announced(workload, workload.down_news)

    def _same(self, name: str, record: Record, reply: Reply, workload: Workload) -> bool:
        """The card shows this already, or differs only in durations."""
        shown = self._shown.get(name)
        if shown is None or shown[0].card_message_id != record.card_message_id:
            return False
        settled = workload.phase in (Phase.READY, Phase.ASLEEP)
        told = shown[1].tone is reply.tone and self._shown_news(workload) == workload.news
        return shown[1] == reply or (settled and told)

    def _is_own_card(self, record: Record) -> bool:
        """This process updates the card. While another one leads, that does it, except for cards in this
        one's terminal."""
        return not self._guest or (
            record.card_place is not None
            and self._messenger.alone_shows(record.card_place, record.card_message_id)
        )

    def _shown_news(self, workload: Workload) -> str:
        """The `Workload.news` that the card showed last; empty: none yet."""
        return self._news.get(workload.name, "") if self._guest else workload.record.announced_news

    async def _gone(self, name: str) -> None:
        record, _ = self._shown.pop(name, (None, None))
        self._untested.discard(name)
        self._news.pop(name, None)
        if record is not None:
            await self._edit(record, Reply(t("card.gone", name=name), tone=Tone.ASLEEP))

    async def _edit(self, record: Record, reply: Reply) -> bool:
        if record.card_place is None or not self._messenger.reaches(record.card_place):
            return False  # in a terminal, which shows it itself, or a chat that another bot is in
        try:
            await self._messenger.edit(record.card_place, record.card_message_id, reply, record.locale)
        except UserError as error:
            log.warning("card.edit_failed", card=record.card_message_id, why=error.text.key)
            return False
        return True

    async def _announced(self, workload: Workload, news: str) -> None:
        if self._guest:
            self._news[workload.name] = news
            return
        changes: RecordChanges = {"announced_news": news}
        try:
            await self._cluster.update_record(workload.name, **changes)
        except UserError as error:
            log.warning("card.not_remembered", workload=workload.name, why=error.text.key)
