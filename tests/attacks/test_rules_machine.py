"""Three people type whatever they like, at once and while time passes: no rule is ever broken."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Unpack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.access.roles import Quota, Role
from bot.core.chat.message import Message, Place, Turn, User
from bot.core.chat.reply import Button, Reply
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.idle.verdict import LONGEST_WINDOW
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.timeline import FAILURES
from tests.attacks import THOROUGH
from tests.conftest import Chat, Clock, settle

RUNS = 10_000 if THOROUGH else 25
ROLES = {"eve": Role.STUDENT, "ada": Role.RESEARCHER, "grace": Role.ADMIN}
QUOTAS = {
    Role.STUDENT: Quota(2, 2, 2, timedelta(hours=2)),
    Role.RESEARCHER: Quota(4, 3, 4, timedelta(days=1)),
    Role.ADMIN: Quota(),
}
FAILS = {"eve": "cuda_oom", "ada": "gated_model", "grace": "disk_full"}
"""The cause of all failures of a person's models: so a line of a log shows whose it is."""
NAMES = ("m1", "m2", "m3", "m4")
NODES = {"icc-gpu-1": 4, "icc-gpu-2": 2}
SWEEP = timedelta(minutes=4)
ACTOR: ContextVar[str] = ContextVar("ACTOR", default="")
"""Who asked for what is being done; empty: nobody did, the bot does it by itself."""

people = st.sampled_from(sorted(ROLES))
names = st.sampled_from(NAMES)
places = st.sampled_from(["1", "2"])
deploys = st.builds(
    "deploy {} name={} {}".format,
    st.sampled_from(["tinyllama", "tinyllama replicas=2", "llama-3-8b tp=2", "llama-3-8b tp=4"]),
    names,
    st.sampled_from(["", "ttl=1h", "ttl=30d", 'hours="mo-su 0-24" ttl=1h', 'hours="mo-fr 8-20"', "idle=7d"]),
)
others = st.builds(
    str.format,
    st.sampled_from(
        [
            "wake {0}",
            "wake {0}",
            "sleep {0}",
            "undo {0}",
            "stop {0} --sure",
            "keep {0} 1h",
            "keep {0} 7d",
            "scale {0} replicas=1",
            "scale {0} replicas=2",
            "scale {0} tp=2",
            "scale {0} tp=4",
            "ask {0} are you there?",
            "status {0}",
            "why {0}",
            "logs {0}",
        ]
    ),
    names,
)
lines = st.one_of(deploys, others, others, others)


class Watched(SimulatedCluster):
    """The simulator, but a write takes a moment, as on a network, and each is held against the rules."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, dict(NODES))
        self.broken: list[str] = []
        self.writes = 0
        """Writes on their way: what they do was decided already."""
        self._time = clock

    async def create(self, spec: Spec, record: Record) -> None:
        await self._on_its_way()
        with self._watched(spec.name):
            await super().create(spec, record)

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        await self._on_its_way()
        with self._watched(spec.name):
            await super().change(spec, record, awake=awake, version=version)

    async def scale(
        self, name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]
    ) -> None:
        await self._on_its_way()
        with self._watched(name):
            await super().scale(name, replicas, version, **changes)

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        await self._on_its_way()
        with self._watched(name):
            await super().update_record(name, version, **changes)

    async def _on_its_way(self) -> None:
        self.writes += 1
        await settle()
        self.writes -= 1

    @contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        before = self.find(name)
        yield
        after = self.find(name)
        assert after is not None
        self.hold_against_quotas()
        if before is None:
            self._must(ACTOR.get() == after.record.owner, f"{name} is another's")
        else:
            self._hold_against_ownership(before, after)
        self._hold_against_leases(before, after)

    def hold_against_quotas(self) -> None:
        for who, role in ROLES.items():
            quota, own = QUOTAS[role], self.owned_by(who)
            if quota.gpus is None or quota.deployments is None or quota.tensor_parallel_size is None:
                continue
            awake = [w for w in own if w.gpus_held]
            self._must(sum(w.gpus_held for w in own) <= quota.gpus, f"{who}: GPUs")
            self._must(len(own) <= quota.deployments, f"{who}: deployments")
            largest = max((w.spec.tensor_parallel_size for w in awake), default=0)
            self._must(largest <= quota.tensor_parallel_size, f"{who}: tp")

    def _hold_against_ownership(self, before: Workload, after: Workload) -> None:
        old, new, actor = before.record, after.record, ACTOR.get()
        self._must(old.owner == new.owner, f"{after.name} changed hands")
        if actor != old.owner:
            kept = (old.card_place, old.card_message_id, old.locale)
            self._must(kept == (new.card_place, new.card_message_id, new.locale), f"news of {after.name}")
        if not self._may(actor, old.owner):
            self._must(old.idle_window == new.idle_window, f"window of {after.name}")
            self._must(before.spec == after.spec, f"spec of {after.name}")
            self._must(not (actor and before.gpus_held and not after.gpus_held), f"{after.name} put to sleep")
        self._must((new.idle_window or LONGEST_WINDOW) <= LONGEST_WINDOW, f"{after.name}: no ceiling")

    def _hold_against_leases(self, before: Workload | None, after: Workload) -> None:
        now, record, actor = self._time.now(), after.record, ACTOR.get()
        longest, ends = QUOTAS[ROLES[record.owner]].ttl, record.lease_ends_at
        if longest and after.gpus_held:
            self._must(ends is not None, f"{after.name} runs without a lease")
        if longest and ends:
            self._must(ends <= now + longest, f"the lease of {after.name} is too long")
        if before and not self._may(actor, record.owner):
            renewed = before.record.lease_over(now) and not record.lease_over(now)
            self._must(not renewed, f"the lease of {after.name} was renewed")
            began = after.gpus_held and not before.gpus_held
            self._must(not (began and before.record.lease_over(now)), f"{after.name} rose again")
            longer = before.record.lease_ends_at and ends and ends > before.record.lease_ends_at
            self._must(not longer, f"the lease of {after.name} was made longer")

    def _may(self, actor: str, owner: str) -> bool:
        return actor == owner or ROLES.get(actor) is Role.ADMIN

    def _must(self, holds: bool, rule: str) -> None:
        if not holds:
            self.broken.append(f"{rule} ({ACTOR.get() or 'the bot'})")


class Public(Chat):
    """A chat in which every person has places of their own, and that knows who reads what."""

    def __init__(self, read: "Reads") -> None:
        super().__init__()
        self._reads = read

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        self._reads.shown(place.channel, reply)
        return await super().post(place, reply, locale)

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        self._reads.shown(place.channel, reply)
        await super().edit(place, message, reply, locale)


class Reads:
    """What each person has read: never a line of another's log; and the buttons there."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.buttons: list[Button] = []

    def shown(self, who: str, reply: Reply) -> None:
        self.buttons = [*self.buttons, *reply.buttons][-12:]
        words = repr(reply)
        if reply.text and reply.text.key == "error.internal":
            self.broken.append(f"a bug: {words}")
        for owner, cause in FAILS.items():
            if who != owner and ROLES[who] is not Role.ADMIN and FAILURES[cause][-30:] in words:
                self.broken.append(f"{who} reads the log of {owner}: {words}")


class Quiet:
    """Models that answer at once and are used by nobody else."""

    async def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        yield Piece("yes")
        yield Piece(tokens=1)

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        return 1

    async def load(self, url: str) -> Load | None:
        return Load(0, 0, 0)


class Rules(RuleBasedStateMachine):
    """All that people, time and faults can do."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.questions: set[asyncio.Task[None]] = set()
        self._do(self._begin())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(what)

    async def _begin(self) -> None:
        self.clock, self.reads = Clock(), Reads()
        self.cluster, self.chat = Watched(self.clock), Public(self.reads)
        chosen = Settings(
            _env_file=None,
            admins=frozenset({"grace"}),
            researchers=frozenset({"ada"}),
            student_quota=QUOTAS[Role.STUDENT],
            researcher_quota=QUOTAS[Role.RESEARCHER],
            idle_window=timedelta(minutes=20),
            sweep_interval=SWEEP,
            stop_after=timedelta(days=3),
            database_url="sqlite://",
        )
        self.bot: App = wiring.build(chosen, self.cluster, Quiet(), self.chat, self.clock)
        jobs = self.bot.services.card_updater.run, self.bot.gpu_queue.follow
        self.working = [asyncio.create_task(job()) for job in jobs]
        await settle()

    @initialize()
    def some_run_already(self) -> None:
        for who, line in (
            ("eve", "deploy tinyllama name=m1 ttl=1h"),
            ("eve", 'deploy tinyllama name=m2 hours="mo-su 0-24"'),
            ("ada", "deploy llama-3-8b tp=2 name=m3"),
            ("grace", "deploy llama-3-8b tp=4 name=m4"),  # little is free: others wait for GPUs
        ):
            self._do(self._type(who, "1", line))
        for _ in range(2):
            self._do(self._pass(SWEEP))
        for name, who in (("m1", "eve"), ("m3", "ada")):
            self._do(self._type(who, "1", f"sleep {name}"))

    @rule(who=people, place=places, line=lines)
    def type(self, who: str, place: str, line: str) -> None:
        self._do(self._type(who, place, line))

    @rule(first=st.tuples(people, places, lines), second=st.tuples(people, places, lines))
    def type_at_once(self, first: tuple[str, str, str], second: tuple[str, str, str]) -> None:
        self._do(self._together([first, second]))

    @rule(who=st.sampled_from(["eve", "ada"]), verbs=st.tuples(others, others, others))
    def hurry(self, who: str, verbs: tuple[str, str, str]) -> None:
        self._do(self._together([(who, "1", line) for line in verbs]))

    @precondition(lambda self: self.reads.buttons)
    @rule(who=people, place=places, number=st.integers(0, 11))
    def click(self, who: str, place: str, number: int) -> None:
        button = self.reads.buttons[number % len(self.reads.buttons)]
        self._do(self._type(who, place, button.command, button.about))

    @rule(sweeps=st.integers(1, 8))
    def let_time_pass(self, sweeps: int) -> None:
        for _ in range(sweeps):
            self._do(self._pass(SWEEP))

    @rule(hours=st.integers(1, 14))
    def let_hours_pass(self, hours: int) -> None:
        self._do(self._pass(timedelta(hours=hours)))
        self._do(self._pass(SWEEP))

    @rule(name=names, who=people, look=st.sampled_from(["status {}", "why {}", "ask {} what is wrong?"]))
    def crash(self, name: str, who: str, look: str) -> None:
        self._do(self._crash(name))
        self._do(self._type(who, "2", look.format(name)))

    @invariant()
    def no_rule_is_broken(self) -> None:
        self.cluster.hold_against_quotas()
        assert self.cluster.broken + self.reads.broken == []

    async def _together(self, typed: Sequence[tuple[str, str, str]]) -> None:
        await asyncio.gather(*(self._type(who, place, line) for who, place, line in typed))

    async def _type(self, who: str, place: str, line: str, about: str = "") -> None:
        """A question waits for its model while others go on."""
        task = asyncio.create_task(self._say(who, place, line, about))
        self.questions.add(task)
        task.add_done_callback(self.questions.discard)
        if not line.startswith("ask "):
            await task
        await self._calm()

    async def _calm(self) -> None:
        """No time passes while a write is on its way."""
        await settle()
        while self.cluster.writes:
            await settle()

    async def _say(self, who: str, place: str, line: str, about: str) -> None:
        ACTOR.set(who)
        here = Place("test", who, place)
        replies = self.bot.dispatcher.handle(Message(line, User(who, who, "en"), here, about=about))
        sent: str | None = None
        try:
            reply = await anext(replies)
            while True:
                sent = sent or await self.chat.post(here, reply)
                self.reads.shown(who, reply)
                reply = await replies.asend(sent)
        except StopAsyncIteration:
            return

    async def _pass(self, span: timedelta) -> None:
        self.clock.advance(seconds=span.total_seconds())
        self.cluster.step()
        await settle()
        await self.bot.services.activity.sweep()
        await self.bot.gpu_queue.advance()
        await self.bot.idle_sweep.run()
        await settle()

    async def _crash(self, name: str) -> None:
        workload = self.cluster.find(name)
        if workload and workload.phase in (Phase.READY, Phase.LOADING, Phase.PULLING):
            self.cluster.fail(name, FAILS[workload.record.owner])
        await settle()

    async def _end(self) -> None:
        tasks = [*self.working, *self.questions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.bot.close()

    def teardown(self) -> None:
        try:
            self._do(self._end())
        finally:
            self.loop.close()


TestRules = Rules.TestCase
TestRules.settings = settings(
    max_examples=RUNS,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
