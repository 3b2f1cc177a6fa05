"""Tells admins what is wrong: each incident once, changed in place, and that it is over."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta

import structlog

from bot.core.alerts import alert_messages as messages
from bot.core.alerts.state import STORMS, Alert, AlertKind, AlertState
from bot.core.alerts.stored import NewerState, read_state, write_state
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Text, t
from bot.core.counters import ALERTS
from bot.core.ports import Clock, ClusterReader, Messenger, StateStore
from bot.services.operations.incidents import Incidents

GATHER = 2.0
"""Seconds in which news gather: a storm is one message."""

GUEST_LOOKS_EVERY = 10.0
"""Seconds between two looks at what the process that leads has written down."""

log = structlog.get_logger()


class AlertService:
    """What it has told is on the cluster: a restart neither repeats nor forgets. Without a place of the
    admins nothing is posted, and `alerts` lists what is open."""

    def __init__(
        self,
        cluster: ClusterReader,
        store: StateStore,
        messenger: Messenger,
        incidents: Incidents,
        clock: Clock,
        admins: Place | None,
    ) -> None:
        self._cluster, self._store, self._messenger = cluster, store, messenger
        self.incidents, self._clock, self._admins = incidents, clock, admins
        self._turn, self._news = asyncio.Lock(), asyncio.Event()
        self._buttons: dict[str, tuple[Button, ...]] = {}
        self._saved: AlertState | None = None
        self._unsure: set[str] = set()
        self._newer = self._guest = False
        self.state = AlertState()

    @property
    def problem(self) -> Text | None:
        """Why nothing is told and nothing written down, if that is so."""
        return t("alerts.newer") if self._newer else None

    def down(self) -> Sequence[str]:
        """What does not work, for whoever asks how the bot is."""
        return ["alerts: what was told is in a newer format"] if self._newer else []

    async def run_as_guest(self) -> None:
        """Only read what whoever leads has written down; for ever."""
        self._guest = True
        try:
            while True:
                self._saved = None
                with suppress(UserError):  # the cluster is away: the next time
                    async with self._turn:
                        await self._recall()
                await self._clock.sleep(GUEST_LOOKS_EVERY)
        finally:
            self._guest = False

    async def run(self) -> None:
        """Look whenever something changes, a moment later; for ever."""
        self._saved = None  # another process may have written meanwhile
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            while True:
                await self._clock.sleep(GATHER)
                self._news.clear()
                await self.look()
                await self._news.wait()

    async def _hear(self) -> None:
        async for _ in self._cluster.changes():
            self._news.set()

    def open(self) -> list[Alert]:
        """What is open, the oldest first."""
        return [alert for alert in self.state.alerts.values() if alert.ended is None]

    def find(self, which: str) -> list[Alert]:
        """Those of a number, or of what they are about; UserError when there is none."""
        if problem := self.problem:
            raise UserError(problem)
        found = [a for a in self.open() if which.lstrip("#") in (str(a.number), a.about)]
        if not found:
            raise UserError(t("alerts.unknown", which=which))
        return found

    def acknowledge(self, which: str, who: str) -> list[Alert]:
        """Somebody takes care of it: no more reminders, and fewer GPUs are as many as there are now."""
        self._require_leading()
        found = [alert.model_copy(update={"by": who}) for alert in self.find(which)]
        nodes = {node.name: node.total for node in self._cluster.nodes()}
        about = {alert.about for alert in found if alert.kind in (AlertKind.FEWER, AlertKind.NODE)}
        counted = {n: nodes.get(n, 0) if n in about else most for n, most in self.state.gpus.items()}
        self.state = self.state.put(found, gpus=counted).touched({alert.key for alert in found})
        self._news.set()
        return found

    def silence(self, which: str, span: timedelta) -> list[Alert]:
        """Nobody hears of it, nor of its like, for a while."""
        self._require_leading()
        found, until = self.find(which), self._clock.now() + span
        quiet = self.state.silenced | {alert.fingerprint: until for alert in found}
        self.state = self.state.put((), silenced=quiet)
        self._news.set()
        return found

    def _require_leading(self) -> None:
        """A guest writes nothing."""
        if self._guest:
            raise UserError(t("alerts.guest"))

    async def last_report(self) -> date | None:
        """The last day whose morning's report was sent; UserError when that cannot be read."""
        async with self._turn:
            await self._recall()
            return self.state.reported

    async def note_report(self, day: date | None) -> None:
        """Write down that the report of that day is sent; UserError when that cannot be done."""
        async with self._turn:
            await self._recall()
            self.state = self.state.model_copy(update={"reported": day})
            await self._save()

    async def look(self) -> None:
        """Compare what is wrong with what was told, and tell the difference."""
        async with self._turn:
            try:
                await self._recall()
                if self._newer:
                    return
                self.compare()
                await self._save()  # before anything is posted: what is killed then looks for its message
                for key in [key for key, post in self.state.posts.items() if post.stale]:
                    await self._show(key)
                await self._save()
            except UserError as error:  # the cluster or the chat is away: the next look will do
                log.warning("alerts.postponed", why=error.text.key)

    async def _recall(self) -> None:
        if self._saved is None:
            text = await self._store.load_state()
            try:
                self.state, self._newer = read_state(text), False
            except NewerState as error:
                if not self._newer:
                    log.error("alerts.newer_format", why=str(error))
                self._newer = True
                return
            except ValueError as error:
                log.error("alerts.unreadable", why=str(error)[:200])
                await self._store.set_state_aside(text)
                self.state, self._newer = AlertState(), False
            self._saved = self.state
            self._unsure = {key for key, post in self.state.posts.items() if not post.id}

    async def _save(self) -> None:
        if self.state != self._saved:
            await self._store.save_state(write_state(self.state))
            self._saved = self.state

    def compare(self) -> None:
        """Every message that says something else than what is true now is stale."""
        if self._guest:
            return
        now, before = self._clock.now(), self.state
        incidents = list(self.incidents.now(before))
        self._buttons = {incident.fingerprint: incident.buttons for incident in incidents}
        state = before.counted({node.name: node.total for node in self._cluster.nodes()}, now)
        state = state.compared(incidents, now)
        changed = {a.key for name, a in state.alerts.items() if a != before.alerts.get(name)}
        if self._admins is not None:
            state, repeated = state.addressed(now).reminded(now)
            changed |= set(repeated)
        for name in state.alerts.keys() - before.alerts.keys():
            ALERTS.labels(state.alerts[name].kind.value).inc()
        self.state = state.touched(changed)

    async def _show(self, key: str) -> None:
        """Make a message say how things are; post it if it is not there."""
        post, group = self.state.posts[key], self.state.of(key)
        assert self._admins is not None
        shown, known = replace(self._drawn(key), key=key), post.id
        if not known and key in self._unsure:
            known = await self._messenger.find(self._admins, key)
        if known:
            await self._messenger.edit(self._admins, known, shown)
        else:
            self._unsure.add(key)
            known = await self._messenger.post(self._admins, shown)
        self._unsure.discard(key)
        fresh = post.model_copy(update={"id": known, "stale": False})
        self.state = self.state.put((), posts=self.state.posts | {key: fresh})
        self.state = self.state.drop([alert for alert in group if alert.ended], key)

    def _drawn(self, key: str) -> Reply:
        group = self.state.of(key)
        if not group:
            return messages.repeated()
        if key.startswith(STORMS):
            return messages.digest(group, self.state.posts[key].total)
        [alert] = group
        if alert.ended:
            return messages.resolved(alert)
        return messages.message(alert, self._buttons.get(alert.fingerprint, ()), self._clock.now())
