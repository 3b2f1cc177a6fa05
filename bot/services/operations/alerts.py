"""Tells admins what is wrong: one message for each incident, which changes until the incident is over."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta

import structlog

from bot.core.alerts import alert_messages as messages
from bot.core.alerts.state import STORMS, Alert, AlertKind, AlertState
from bot.core.alerts.stored import NewerState, read_state, write_state
from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Text, t
from bot.core.counters import ALERTS
from bot.core.ports import Clock, ClusterReader, Messenger, StateStore
from bot.services.operations.incidents import Incidents

GATHER = 2.0
"""Seconds between a change and a message, so that a storm becomes one message."""

FAILURES_FORGIVEN = 3
"""Messages of one look that may fail until the others wait for the next one."""

GUEST_LOOKS_EVERY = 10.0
"""Seconds between two looks at the state that the leading process has stored."""

log = structlog.get_logger()


class AlertService:
    """Keeps the messages of alerts true. Its state is stored on the cluster, so that after a restart it
    repeats and forgets nothing. `admins` is where admins read; None: nothing is posted, and the command
    `alerts` lists what is open."""

    def __init__(
        self,
        cluster: ClusterReader,
        store: StateStore,
        messenger: Messenger,
        incidents: Incidents,
        clock: Clock,
        admins: Place | None,
        bulkhead: Bulkhead,
    ) -> None:
        self._cluster, self._store, self._messenger = cluster, store, messenger
        self.incidents, self._clock, self._admins = incidents, clock, admins
        self._bulkhead = bulkhead
        self._looking, self._news = asyncio.Lock(), asyncio.Event()
        self._buttons: dict[str, tuple[Button, ...]] = {}
        self._saved: AlertState | None = None
        self._unsure: set[str] = set()
        """Keys of posts that may be on the platform already, although no message id is known."""
        self._newer = self._guest = False
        self.state = AlertState()
        """All alerts, their messages and silences."""

    @property
    def problem(self) -> Text | None:
        """Why alerts are neither posted nor stored; None if they are."""
        return t("alerts.newer") if self._newer else None

    def down(self) -> Sequence[str]:
        """What does not work, for the health check; empty if everything does."""
        return ["alerts: what was told is in a newer format"] if self._newer else []

    async def run_as_guest(self) -> None:
        """While another process leads: only read the state that it has stored; it never ends."""
        self._guest = True
        try:
            while True:
                self._saved = None
                with suppress(UserError):  # the cluster is away: the next look tries again
                    async with self._looking:
                        await self._load()
                await self._clock.sleep(GUEST_LOOKS_EVERY)
        finally:
            self._guest = False

    async def run(self) -> None:
        """Look GATHER seconds after each change; it never ends."""
        self._saved = None  # another process may have stored another state
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear())
            while True:
                await self._clock.sleep(GATHER)
                self._news.clear()
                await self.look()
                await self._news.wait()

    async def _hear(self) -> None:
        with self._cluster.changes() as names:
            async for _ in names:
                self._news.set()

    async def catch_up(self) -> None:
        """Load what another process has stored before this one began to lead, and compare it with what is
        wrong now. UserError when the cluster cannot be reached, or a newer version has stored the state."""
        if self._saved is None and not self._guest:
            async with self._looking:
                await self._load()
        self._require_known_format()
        self.compare()

    def open(self) -> list[Alert]:
        """The open alerts, the oldest first."""
        return [alert for alert in self.state.alerts.values() if alert.ended is None]

    def find(self, which: str) -> list[Alert]:
        """The open alerts with this number (`17` or `#17`), or about this model, node, pod, volume or part of
        the bot. UserError when there is none."""
        self._require_known_format()
        alerts = [a for a in self.open() if which.lstrip("#") in (str(a.number), a.about)]
        if not alerts:
            raise UserError(t("alerts.unknown", which=which))
        return alerts

    def acknowledge(self, which: str, who: str) -> list[Alert]:
        """Record that the person called `who` takes care of an alert: there are no more reminders. A node
        that has fewer GPUs than before, or is gone, should have as many as it has now. Returns the alerts;
        UserError when there is none, or when this process does not hold the Lease."""
        self._require_leading()
        acknowledged = [alert.model_copy(update={"by": who}) for alert in self.find(which)]
        nodes = {node.name: node.total for node in self._cluster.nodes()}
        about = {a.about for a in acknowledged if a.kind in (AlertKind.FEWER, AlertKind.NODE)}
        gpus = {n: nodes.get(n, 0) if n in about else most for n, most in self.state.gpus.items()}
        keys = {alert.key for alert in acknowledged}
        self.state = self.state.with_alerts(acknowledged, gpus=gpus).with_stale_posts(keys)
        self._news.set()
        return acknowledged

    def silence(self, which: str, span: timedelta) -> list[Alert]:
        """Post nothing about an alert, or another one about the same thing, for a while. Returns the alerts;
        UserError when there is none, or when this process does not hold the Lease."""
        self._require_leading()
        alerts, until = self.find(which), self._clock.now() + span
        silenced = self.state.silenced | {alert.fingerprint: until for alert in alerts}
        self.state = self.state.with_alerts((), silenced=silenced)
        self._news.set()
        return alerts

    def _require_leading(self) -> None:
        """UserError while another process leads: a guest stores nothing."""
        if self._guest:
            raise UserError(t("alerts.guest"))

    async def last_report(self) -> date | None:
        """The last day whose morning report was posted; None: there was none. UserError when the cluster
        cannot be reached, or a newer version has stored the state."""
        async with self._looking:
            await self._load()
            self._require_known_format()
            return self.state.reported

    async def note_report(self, day: date | None) -> None:
        """Store that the morning report of that day has been posted. UserError when the cluster cannot be
        reached, or a newer version has stored the state."""
        async with self._looking:
            await self._load()
            self._require_known_format()
            self.state = self.state.model_copy(update={"reported": day})
            await self._save()

    async def look(self) -> None:
        """Compare what is wrong with what admins were told; post and edit what differs."""
        async with self._looking:
            with self._bulkhead.isolated(WorkKind.ALERTS):
                try:
                    await self._look()
                except UserError as error:  # the cluster or the chat is away: the next look tries again
                    log.warning("alerts.postponed", why=error.text.key)

    async def _look(self) -> None:
        """One message that cannot be shown does not hold up the others; the first failure is raised at the
        end, or once several have failed: then the chat is away."""
        await self._load()
        if self._newer:
            return
        self.compare()
        await self._save()  # before anything is posted: after a crash its messages are looked for
        failed: list[Exception] = []
        for key in [key for key, post in self.state.posts.items() if post.stale]:
            [error] = await asyncio.gather(self._show(key), return_exceptions=True)
            failed += [error] if isinstance(error, Exception) else []
            if len(failed) >= FAILURES_FORGIVEN:
                break
        await self._save()
        if failed:
            raise failed[0]

    async def _load(self) -> None:
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
                if not self._guest:
                    await self._store.set_state_aside(text)
                self.state, self._newer = AlertState(), False
            self._saved = self.state
            self._unsure = {key for key, post in self.state.posts.items() if not post.id}

    async def _save(self) -> None:
        self._require_known_format()
        state = self.state  # an admin may acknowledge or silence meanwhile: that is saved next
        if state != self._saved:
            await self._store.save_state(write_state(state))
            self._saved = state

    def _require_known_format(self) -> None:
        """UserError when a newer version has stored the state: it is left alone."""
        if problem := self.problem:
            raise UserError(problem)

    def compare(self) -> None:
        """Bring the state up to date with what is wrong now, and mark the posts that must change as stale. A
        guest does nothing."""
        if self._guest:
            return
        now, before = self._clock.now(), self.state
        incidents = list(self.incidents.current(before))
        self._buttons = {incident.fingerprint: incident.buttons for incident in incidents}
        state = before.with_gpu_counts(self._cluster.nodes(), now)
        state = state.with_incidents(incidents, now)
        changed = {a.key for name, a in state.alerts.items() if a != before.alerts.get(name)}
        if self._admins is None:
            state = state.without_posts()
        else:
            state, old_keys = state.with_new_posts(now).with_reminders(now)
            changed |= set(old_keys)
        for name in state.alerts.keys() - before.alerts.keys():
            ALERTS.labels(state.alerts[name].kind.value).inc()
        self.state = state.with_stale_posts(changed)

    async def _show(self, key: str) -> None:
        """Edit the message of a post, or post it if there is none yet."""
        post, group = self.state.posts[key], self.state.alerts_of_post(key)
        assert self._admins is not None
        reply, message = replace(self._reply(key), key=key), post.id
        if not message and key in self._unsure:
            message = await self._messenger.find(self._admins, key)
        if message:
            await self._messenger.edit(self._admins, message, reply)
        else:
            self._unsure.add(key)
            message = await self._messenger.post(self._admins, reply)
        self._unsure.discard(key)
        stale = self.state.alerts_of_post(key) != group  # acknowledged meanwhile: it does not say so yet
        fresh = post.model_copy(update={"id": message, "stale": stale})
        self.state = self.state.with_alerts((), posts=self.state.posts | {key: fresh})
        self.state = self.state.without([alert for alert in group if alert.ended], key)

    def _reply(self, key: str) -> Reply:
        group = self.state.alerts_of_post(key)
        if not group:
            return messages.repeated()
        if key.startswith(STORMS):
            return messages.digest(group, self.state.posts[key].total)
        [alert] = group
        if alert.ended:
            return messages.resolved(alert)
        return messages.message(alert, self._buttons.get(alert.fingerprint, ()), self._clock.now())
