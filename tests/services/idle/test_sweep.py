"""GPUs come back by themselves, and never while anybody uses them: months of simulated time."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, Unpack

import aiohttp
import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.record import RecordChanges, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import PROBES
from bot.core.ports import Load, Piece
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.conftest import THREAD, Ask, Chat, Clock, PassTime, Say
from tests.fakes.mortal import Killed, Mortal

ADMINS = Place("test", "admins")
BEGUN = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""When the clock of the tests begins."""


Ready = Callable[[], Workload]
"""The model of the test, as it is now."""
Tick = Callable[[], Awaitable[None]]


class Sweeps(Protocol):
    """Let minutes pass, with a sweep in each; before it `each` happens."""

    async def __call__(
        self, minutes: int, each: Callable[[], None] | None = None, sweep: Tick | None = None
    ) -> None: ...


@pytest.fixture
def sweeps(bot: App, cluster: SimulatedCluster, clock: Clock) -> Sweeps:
    """`await sweeps(30)` lets minutes pass, with a sweep in each."""

    async def sweeps(minutes: int, each: Callable[[], None] | None = None, sweep: Tick | None = None) -> None:
        for _ in range(minutes):
            if each:
                each()
            clock.advance(minutes=1)
            cluster.step()
            await (sweep or bot.sweep)()

    return sweeps


@pytest_asyncio.fixture
async def ready(ask: Ask, pass_time: PassTime, bot: App) -> Ready:
    """A model of ada's, ready since this minute."""
    await ask("deploy tinyllama")
    await pass_time(200)
    await bot.sweep()
    return lambda: next(iter(bot.services.cluster.workloads()))


def told(chat: Chat, say: Say, after: int = 1) -> list[str]:
    """Every message since the card, as it looks now."""
    shown = [history[-1] for history in list(chat.messages.values())[after:]]
    return [say(reply.text) for reply in shown if reply.text]


async def test_a_model_that_nobody_uses_is_announced_and_sleeps_within_the_window(
    ready: Ready, sweeps: Sweeps, chat: Chat, say: Say, bot: App
) -> None:
    begun = bot.services.clock.now()
    await sweeps(17)
    assert told(chat, say) == []
    await sweeps(3)
    [warning] = list(chat.messages.values())[1:]
    assert "has been idle for 20 min" in say(warning[-1].text)
    labels = [say(button.label) for button in warning[-1].buttons]
    assert labels == ["Keep 1 h", "Keep 4 h", "Until 22:00", "Sleep now", "Why?"]
    while ready().replicas:
        await sweeps(1)
    assert bot.services.clock.now() - begun <= timedelta(minutes=32)
    await sweeps(1)
    assert told(chat, say)[0].startswith("tinyllama sleeps and gives its GPU back. Nobody has used it since")
    assert [say(b.label) for b in warning[-1].buttons] == ["Wake", "This was wrong"]
    before = len(chat.messages)
    await sweeps(60)
    assert len(chat.messages) == before and len(warning) == 2


async def test_use_after_the_warning_takes_it_back_and_later_warns_anew(
    ready: Ready, sweeps: Sweeps, chat: Chat, say: Say, ask: Ask
) -> None:
    await sweeps(25)
    await ask("ask tinyllama are you there?", who="eve")
    await sweeps(2)
    assert "is in use again" in told(chat, say)[0] and ready().record.warned_at is None
    await sweeps(15)
    assert ready().record.warned_at is None
    await sweeps(5)
    assert "has been idle for 20 min" in told(chat, say)[-1] and ready().replicas == 1
    await sweeps(15)
    assert ready().replicas == 0


@pytest.mark.parametrize("line, minutes", [("keep tinyllama 1h", 60), ("keep tinyllama 4h", 240)])
async def test_keep_holds_it_for_that_long_and_a_window(
    ready: Ready, sweeps: Sweeps, chat: Chat, say: Say, ask: Ask, line: str, minutes: int
) -> None:
    await sweeps(25)
    await ask(line)
    await sweeps(2)
    assert "is kept awake until" in told(chat, say)[0]
    await sweeps(minutes)
    assert ready().replicas == 1
    await sweeps(40)
    assert ready().replicas == 0


async def test_until_a_time_of_day(ready: Ready, sweeps: Sweeps, ask: Ask, say: Say, clock: Clock) -> None:
    [reply] = await ask("keep tinyllama 22:00")
    assert say(reply.text).endswith("22:00.")
    assert ready().record.keep_until == clock.now().replace(hour=21, minute=0, second=0)  # 22:00 in Berlin
    for wrong in ("25:00", "soon"):
        [reply] = await ask(f"keep tinyllama {wrong}")
        assert reply.tone is Tone.FAILED


async def test_a_stream_longer_than_the_window_is_not_cut(
    ready: Ready, sweeps: Sweeps, server: SimulatedServer
) -> None:
    def stream() -> None:
        server.running["tinyllama"] = 1
        server.tokens["tinyllama"] += 7

    await sweeps(90, stream)
    assert ready().replicas == 1
    server.running["tinyllama"] = 0
    await sweeps(33)
    assert ready().replicas == 0


async def test_web_pages_that_poll_for_models_health_and_scrapes_are_no_activity(
    ready: Ready, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat
) -> None:
    async def poll() -> None:
        endpoint = await cluster.endpoint("tinyllama")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {endpoint.api_key}"}) as web:
            for path in ("/v1/models", "/health", "/metrics"):
                async with web.get(endpoint.url + path) as answer:
                    assert answer.status == 200

    for _ in range(33):
        if ready().replicas:
            await poll()
        await sweeps(1)
    assert ready().replicas == 0


async def test_while_it_loads_and_while_figures_are_missing_nothing_happens(
    ask: Ask, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat, bot: App
) -> None:
    await ask("deploy tinyllama")
    await sweeps(1)
    cluster.hang("tinyllama")
    await sweeps(100)
    assert cluster.workloads()[0].replicas == 1


async def test_missing_figures_never_lead_to_sleep(
    ready: Ready, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat
) -> None:
    url, cluster.url = cluster.url, "http://127.0.0.1:9"
    await sweeps(100)
    assert ready().replicas == 1 and ready().record.warned_at is None
    cluster.url = url
    await sweeps(20)
    assert ready().replicas == 1
    await sweeps(13)
    assert ready().replicas == 0


async def test_a_gauge_that_stuck_is_probed_and_resolved(
    ready: Ready, sweeps: Sweeps, server: SimulatedServer, bot: App, say: Say, ask: Ask
) -> None:
    server.running["tinyllama"] = 106  # what an aborted crowd leaves behind
    await sweeps(19)
    asked = server.tokens["tinyllama"]
    await sweeps(3)
    assert server.tokens["tinyllama"] == asked + 2 and ready().replicas == 1  # two probes of a token
    await sweeps(15)
    assert ready().replicas == 0


def replicas(cluster: SimulatedCluster, name: str) -> int | None:
    workload = cluster.find(name)
    return workload.replicas if workload else None


class Hung:
    """Servers of which those in `hung` count a request that gets no token, and answer nothing."""

    def __init__(self, inference: VllmInference, *hung: str) -> None:
        self._inference, self._hung, self.probed = inference, hung, 0
        self.at_once = self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inference, name)

    async def load(self, url: str) -> Load | None:
        if url.endswith(self._hung):
            return Load(1, 0, 5.0)
        return await self._inference.load(url)

    async def answer(self, *_: object) -> AsyncGenerator[Piece, None]:
        self.probed += 1
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            await asyncio.Event().wait()
            yield Piece()
        finally:
            self._now -= 1


async def test_models_that_hang_are_probed_together_and_hold_up_nobody(
    ask: Ask,
    pass_time: PassTime,
    sweeps: Sweeps,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.services.idle.scale_down.PROBE_SECONDS", 0.05)
    for name in ("a1", "a2", "b1"):
        await ask(f"deploy tinyllama name={name}", who="grace")
    await pass_time(200)
    hung: Any = Hung(inference, "a1", "a2")
    sweep = wiring.build(settings, cluster, hung, chat, clock).sweep
    async with asyncio.timeout(60):
        await sweeps(33, sweep=sweep)
    assert replicas(cluster, "b1") == 0  # as if it were alone
    assert (hung.probed, hung.at_once) == (2 * PROBES, 2)  # who does not answer is not asked for ever
    await sweeps(10, sweep=sweep)
    assert [w.replicas for w in cluster.workloads()] == [0, 0, 0] and hung.probed == 2 * PROBES


async def test_a_model_that_cannot_be_looked_after_is_the_only_one(
    bot: App,
    ask: Ask,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a1", "b1"):
        await ask(f"deploy tinyllama name={name}")
    await pass_time(200)
    await cluster.update_record("a1", office_hours="mo-fr 25-26")  # by hand: no command takes it
    await cluster.update_record("b1", lease_ends_at=clock.now())
    for _ in range(3):
        await bot.sweep()
    assert replicas(cluster, "b1") == 0
    assert list(bot.bulkhead.lasting()) == ["a1"]
    assert "work.failed" in (shown := capsys.readouterr().out) and "Traceback" in shown


class Meanwhile:
    """The cluster, but while the first model is put to sleep a person does something about another."""

    def __init__(self, cluster: SimulatedCluster, do: Callable[[], Awaitable[object]]) -> None:
        self._cluster = cluster
        self.do: Callable[[], Awaitable[object]] | None = do

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def scale(self, name: str, *arguments: Any, **changes: Any) -> None:
        do, self.do = self.do, None
        if do:
            await do()
        await self._cluster.scale(name, *arguments, **changes)


LEFT = SleepState(reason=SleepReason.PERSON, told=True)


@pytest.mark.parametrize(
    "state",
    [
        LEFT.changed(removal_announced_at=BEGUN - timedelta(days=2)),
        SleepState(reason=SleepReason.IDLE, told=False),
        LEFT,
    ],
    ids=["remove", "tell-asleep", "note-office-closed"],
)
async def test_what_a_person_wakes_while_others_are_swept_is_left_alone(
    state: SleepState,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    pass_time: PassTime,
) -> None:
    for name in ("a1", "b1"):
        await ask(f"deploy tinyllama name={name} hours=sa-so 8-9")
    await pass_time(200)
    await ask("sleep b1")
    await cluster.update_record("b1", sleep_state=state)
    await cluster.update_record("a1", lease_ends_at=clock.now())
    meanwhile: Any = Meanwhile(cluster, lambda: ask("wake b1"))
    sent = len(chat.messages)
    await wiring.build(settings, meanwhile, inference, chat, clock).idle_sweep.run()
    assert meanwhile.do is None and replicas(cluster, "a1") == 0
    woken = cluster.find("b1")
    assert woken and woken.replicas == 1 and woken.record.sleep_state is None
    assert len(chat.messages) == sent + 2  # of the wake, and of a1's sleep


async def test_what_is_decided_on_an_old_view_is_not_done(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
) -> None:
    class Lagging:
        """A cluster whose views are those of a moment ago."""

        def __init__(self) -> None:
            self._seen = cluster.workloads()

        def __getattr__(self, name: str) -> Any:
            return getattr(cluster, name)

        def workloads(self) -> Sequence[Workload]:
            return self._seen

        def find(self, name: str) -> Workload | None:
            return next((workload for workload in self._seen if workload.name == name), None)

    await ask("deploy tinyllama hours=mo-fr 8-20")  # it is Tuesday, 13:00 in Berlin
    await ask("sleep tinyllama")
    opens = SleepState(reason=SleepReason.IDLE, told=True, slept_at=clock.now())
    for state in (
        opens,
        opens.model_copy(update={"told": False}),
        opens.changed(removal_announced_at=clock.now() - timedelta(days=2)),
    ):
        await cluster.update_record("tinyllama", sleep_state=state)
        lagging: Any = Lagging()
        built = wiring.build(settings, lagging, inference, chat, clock)
        await cluster.update_record("tinyllama", office_hours="", sleep_state=None)
        sent, before = len(chat.messages), cluster.workloads()
        await built.idle_sweep.run()
        assert cluster.workloads() == before and len(chat.messages) == sent
        await cluster.update_record("tinyllama", office_hours="mo-fr 8-20")


async def test_a_restart_of_the_bot_repeats_no_warning_and_forgets_no_keep(
    ready: Ready,
    sweeps: Sweeps,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
) -> None:
    await sweeps(25)
    posted = len(chat.messages)
    again = wiring.build(settings, cluster, inference, chat, clock)
    await sweeps(25, sweep=again.sweep)
    assert ready().replicas == 1  # what it has not seen itself it does not judge
    await sweeps(5, sweep=again.sweep)
    assert ready().replicas == 0 and len(chat.messages) == posted


async def test_an_api_server_that_is_away_only_delays(
    ready: Ready, sweeps: Sweeps, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise UserError(t("error.api_away"))

    await sweeps(28)
    monkeypatch.setattr(cluster, "scale", away)
    await sweeps(10)
    assert ready().replicas == 1
    monkeypatch.undo()
    await sweeps(1)
    assert ready().replicas == 0


async def test_undo_brings_it_back_at_once_and_doubles_the_window(
    ready: Ready, sweeps: Sweeps, ask: Ask, say: Say, pass_time: PassTime
) -> None:
    await sweeps(33)
    replies = await ask("undo tinyllama")
    assert "it may be idle for 1 h" in [say(line) for line in replies[-1].lines][-1]
    await pass_time(120)
    assert ready().phase is Phase.READY and ready().record.idle_window == timedelta(hours=1)
    await sweeps(55)
    assert ready().replicas == 1
    await sweeps(10)
    assert ready().replicas == 0
    [refused] = await ask("undo tinyllama", who="eve")
    assert "belongs to ada" in say(refused.text)


async def test_why_tells_the_verdict_with_its_evidence(
    ready: Ready, sweeps: Sweeps, ask: Ask, say: Say, bot: App, clock: Clock
) -> None:
    await ask("ask tinyllama hello", who="eve")
    await sweeps(5)
    [reply] = await ask("why tinyllama")
    lines = [say(line) for line in reply.lines]
    assert lines[0].startswith("Not idle yet: last active at") and "0 running, 0 waiting" in lines[0]
    assert lines[1].startswith("Last question by eve at") and "30 min after it was last active" in lines[2]
    for _ in range(28):  # nobody acts on it
        clock.advance(minutes=1)
        await bot.services.activity.sweep()
    [reply] = await ask("why tinyllama", locale="de")
    assert "30 min von 30 min gesehen" in say(reply.lines[0], "de")


@pytest.mark.parametrize(
    "line, minutes, told",
    [
        ("ask tinyllama hello", 33, "Nobody had used it since 1 Jan 13:0"),
        ("sleep tinyllama", 0, "ada put it to sleep."),
        ("keep tinyllama 15m", 50, "Its lease had ended"),
        ("", 0, "It has 0 replicas, and I have no record of why"),
    ],
)
async def test_why_tells_also_what_put_it_to_sleep(
    ask: Ask,
    pass_time: PassTime,
    sweeps: Sweeps,
    cluster: SimulatedCluster,
    say: Say,
    line: str,
    minutes: int,
    told: str,
) -> None:
    await ask("deploy tinyllama" + (" ttl=30m" if "keep" in line else ""))
    await pass_time(200)
    if line:
        await ask(line)
    else:
        await cluster.scale("tinyllama", 0)
    await sweeps(minutes)
    [reply] = await ask("why tinyllama")
    assert say(reply.text).startswith("tinyllama has been asleep since 1 Jan 13:")
    assert say(reply.lines[0]).startswith(told)
    if minutes == 33:
        assert "no request and no token, seen 30 min of 30 min" in say(reply.lines[0])
        assert say(reply.lines[1]).startswith("Last question by ada at 1 Jan 13:0")
        assert "This was wrong" in [say(button.label) for button in reply.buttons]
    await ask("wake tinyllama")
    await pass_time(200)
    assert cluster.workloads()[0].record.sleep_state is None


async def test_in_report_mode_admins_hear_once_and_nothing_happens(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    sweeps: Sweeps,
    ready: Ready,
    say: Say,
) -> None:
    shadow = settings.model_copy(update={"idle_mode": "report", "admin_channel": "test:admins"})
    built = wiring.build(shadow, cluster, inference, chat, clock)
    await sweeps(120, sweep=built.sweep)
    assert ready().replicas == 1
    assert [text for text in told(chat, say) if "would go to sleep now" in text] == told(chat, say)
    assert len(told(chat, say)) == 1


class WithoutTerminal(Chat):
    """No platform of this process has the terminal."""

    def reaches(self, place: Place) -> bool:
        return place.platform != "console"

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        assert self.reaches(place)
        return await super().post(place, reply, locale)


async def test_whom_only_another_terminal_reaches_is_not_told_and_all_goes_on(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    sweeps: Sweeps,
    ready: Ready,
) -> None:
    await cluster.update_record("tinyllama", card_place=Place("console", "terminal"))
    built = wiring.build(settings, cluster, inference, WithoutTerminal(), clock)
    await sweeps(45, sweep=built.sweep)
    state = ready().record.sleep_state
    assert state and (state.reason, state.told) == (SleepReason.IDLE, True)
    assert built.bulkhead.lasting() == {}
    await built.close()


async def test_what_has_failed_gives_its_gpus_back_after_a_while_and_says_so(
    ready: Ready, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat, say: Say
) -> None:
    cluster.fail("tinyllama", "cuda_oom")
    await sweeps(25)
    assert ready().phase is Phase.FAILED and ready().replicas == 1
    await sweeps(10)
    assert ready().replicas == 0 and "failed and gave its GPU back" in told(chat, say)[-1]


NEARLY = timedelta(minutes=9)


class Jittery:
    """The cluster, but every call takes a random number of turns of the loop; nothing may be in flight
    when it is scaled down."""

    def __init__(self, cluster: SimulatedCluster, dice: random.Random) -> None:
        self._cluster, self._dice, self.scaled = cluster, dice, 0
        self.in_flight: Callable[[str], int] = lambda name: 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        if name not in ("scale", "update_record", "change", "endpoint"):
            return found

        async def late(*arguments: Any, **named: Any) -> Any:
            for _ in range(self._dice.randrange(12)):
                await asyncio.sleep(0)
            assert name != "scale" or not self.in_flight("tinyllama")
            self.scaled += name == "scale"
            return await found(*arguments, **named)

        return late


@pytest.mark.parametrize("seed", range(10))
async def test_a_question_at_any_moment_of_the_sweep_is_answered_whole(
    seed: int,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    sweeps: Sweeps,
    pass_time: PassTime,
    say: Say,
) -> None:
    dice = random.Random(seed)
    jittery = Jittery(cluster, dice)
    built = wiring.build(settings, jittery, inference, chat, clock)
    jittery.in_flight = built.services.activity.in_flight
    await ask("deploy tinyllama")
    await pass_time(200)
    for _ in range(10):
        while not (warned := cluster.workloads()[0].record.warned_at) or clock.now() < warned + timedelta(
            minutes=9
        ):
            await sweeps(1, sweep=built.sweep)
        clock.advance(minutes=1)  # now its time has come
        moment = dice.random() * 0.02
        questions = [asyncio.create_task(question(built, f"p{n}", moment, dice)) for n in range(10)]
        sweeping = asyncio.create_task(built.sweep())
        while not all(asked.done() for asked in questions):
            await pass_time(1)
        await sweeping
        for asked in questions:
            assert "tokens/s" in say(asked.result()[-1].footnote)
    assert jittery.scaled  # else the questions never met a sweep that acts


async def question(built: App, who: str, moment: float, dice: random.Random) -> list[Reply]:
    """One that comes a little before, while or after."""
    await asyncio.sleep(moment)
    for _ in range(dice.randrange(40)):
        await asyncio.sleep(0)
    message = Message("ask tinyllama hello", User(who, who), THREAD)
    return [reply async for reply in built.dispatcher.handle(message)]


AWAITED = ("scale", "update_record", "change", "endpoint", "logs", "post", "edit", "load")
"""All that the sweep, the drain and a wake wait for."""


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 37))
async def test_killed_at_any_step_it_warns_once_at_most_and_the_model_sleeps(
    dies_at: int,
    before: bool,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ready: Ready,
    sweeps: Sweeps,
    say: Say,
) -> None:
    calls = [0]
    mortal = partial(Mortal, awaited=AWAITED, calls=calls, dies_at=dies_at, before=before)
    sweep = wiring.build(settings, mortal(cluster), mortal(inference), mortal(chat), clock).sweep
    for _ in range(100):
        try:
            await sweeps(1, sweep=sweep)
        except Killed:
            sweep = wiring.build(settings, cluster, inference, chat, clock).sweep
    assert calls[0] >= dies_at  # else it was not killed
    assert ready().replicas == 0 and ready().record.warned_at is None
    state = ready().record.sleep_state
    assert state and state.reason is SleepReason.IDLE and ready().record.last_nodes == ("icc-gpu-1",)
    warnings = [history[0] for history in chat.messages.values() if "has been idle" in say(history[0].text)]
    assert len(warnings) <= 1
    assert len([text for text in told(chat, say) if "sleeps, its GPU is free" in text]) <= 1


async def test_a_lease_is_announced_and_a_flowing_answer_may_end(
    ask: Ask,
    pass_time: PassTime,
    sweeps: Sweeps,
    server: SimulatedServer,
    chat: Chat,
    say: Say,
    cluster: SimulatedCluster,
) -> None:
    await ask("deploy tinyllama ttl=30m idle=2h")
    await pass_time(200)
    await sweeps(18)
    [warning] = told(chat, say)
    assert warning.startswith("The lease of tinyllama ends at")
    server.running["tinyllama"] = 1
    await sweeps(11)
    assert cluster.workloads()[0].replicas == 1
    server.running["tinyllama"] = 0
    await sweeps(1)
    assert cluster.workloads()[0].replicas == 0
    assert [
        text
        for text in told(chat, say)
        if "tinyllama sleeps and gives its GPU back. Its lease has ended." in text
    ]


async def test_until_a_time_of_day_as_a_lease(
    ask: Ask, say: Say, cluster: SimulatedCluster, clock: Clock
) -> None:
    for number, line in enumerate(("ttl=22:00", "ttl=until 22:00", 'ttl="until 22:00"', "ttl=bis 22:00")):
        await ask(f"deploy tinyllama name=m{number} {line}")
        ends = cluster.workloads()[-1].record.lease_ends_at
        assert ends and ends.hour == 21, line


async def test_office_hours_wake_it_and_let_it_sleep(
    ask: Ask,
    pass_time: PassTime,
    sweeps: Sweeps,
    clock: Clock,
    cluster: SimulatedCluster,
    chat: Chat,
    say: Say,
) -> None:
    await ask("deploy tinyllama hours=mo-fr 8-20")  # it is Tuesday, 13:00 in Berlin
    await pass_time(200)
    await sweeps(120)
    assert cluster.workloads()[0].replicas == 1 and told(chat, say) == []  # warm, though nobody asks
    await sweeps(5 * 60)
    assert cluster.workloads()[0].replicas == 0 and "office hours are over" in told(chat, say)[-1]
    await sweeps(11 * 60)
    assert cluster.workloads()[0].replicas == 0
    await sweeps(60)
    assert cluster.workloads()[0].replicas == 1


async def test_what_nobody_wakes_is_announced_and_removed(
    ready: Ready, sweeps: Sweeps, bot: App, clock: Clock, cluster: SimulatedCluster, chat: Chat, say: Say
) -> None:
    await sweeps(35)
    clock.advance(days=13)
    await sweeps(1)
    assert "It will be removed at" in told(chat, say)[-1]
    before = len(chat.messages)
    clock.advance(hours=23)
    await sweeps(2)
    assert len(cluster.workloads()) == 1 and len(chat.messages) == before
    clock.advance(hours=1)
    await sweeps(1)
    assert cluster.workloads() == [] and "was removed" in told(chat, say)[-1]


def announced(ready: Ready) -> datetime | None:
    state = ready().record.sleep_state
    return state.removal_announced_at if state else None


async def test_what_ran_for_weeks_is_kept_as_long_as_what_ran_for_an_hour(
    ready: Ready, sweeps: Sweeps, clock: Clock
) -> None:
    clock.advance(days=20)
    await sweeps(35)
    asleep = ready()
    assert asleep.replicas == 0 and clock.now() - asleep.since < timedelta(hours=1)
    clock.advance(days=12)
    await sweeps(1)
    assert announced(ready) is None
    clock.advance(days=1)
    await sweeps(1)
    assert announced(ready)


async def test_where_nobody_wrote_down_since_when_it_sleeps_a_sweep_does(
    ready: Ready, sweeps: Sweeps, clock: Clock, cluster: SimulatedCluster, ask: Ask
) -> None:
    await ask("sleep tinyllama")
    legacy = SleepState(reason=SleepReason.IDLE, told=True, removal_announced_at=clock.now())
    clock.advance(days=20)  # as 0.1.0 left it: announced by when it was ready
    await cluster.update_record("tinyllama", sleep_state=legacy)
    await sweeps(2)
    assert ready().since == clock.now() - timedelta(minutes=1)
    clock.advance(days=12)
    await sweeps(1)
    assert announced(ready) == legacy.removal_announced_at
    clock.advance(days=1)
    await sweeps(1)
    assert announced(ready) == clock.now()
    clock.advance(days=1)
    await sweeps(1)
    assert cluster.workloads() == []


async def test_whom_others_woke_and_put_to_sleep_again_sleeps_since_then(
    ready: Ready, sweeps: Sweeps, clock: Clock, cluster: SimulatedCluster, ask: Ask
) -> None:
    await ask("sleep tinyllama")
    clock.advance(hours=1)
    await cluster.scale("tinyllama", 1)  # kubectl scale
    clock.advance(hours=1)
    cluster.step()
    clock.advance(days=20)
    await cluster.scale("tinyllama", 0)
    await sweeps(2)
    assert clock.now() - ready().since < timedelta(minutes=3)
    assert announced(ready) is None


async def test_a_start_that_never_ends_gives_its_gpus_back(
    ask: Ask, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat, say: Say
) -> None:
    await ask("deploy tinyllama")
    cluster.hang("tinyllama")
    await sweeps(119)
    assert cluster.workloads()[0].replicas == 1
    await sweeps(3)
    assert cluster.workloads()[0].replicas == 0 and "failed and gave" in told(chat, say)[-1]


async def test_a_keep_pressed_in_the_last_moment_counts(
    ready: Ready, sweeps: Sweeps, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    scale = cluster.scale

    async def late(name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        if ready().record.keep_until is None:
            await cluster.update_record(name, keep_until=clock.now() + timedelta(hours=1))
        await scale(name, replicas, version, **changes)

    monkeypatch.setattr(cluster, "scale", late)
    await sweeps(60)
    assert ready().replicas == 1


async def test_what_is_woken_is_warned_anew(
    ready: Ready, sweeps: Sweeps, ask: Ask, pass_time: PassTime
) -> None:
    await sweeps(25)
    assert ready().record.warned_at
    await ask("sleep tinyllama")
    await ask("wake tinyllama")
    assert ready().record.warned_at is None


async def test_what_slept_for_days_is_not_idle_the_moment_that_it_is_woken(
    ready: Ready, sweeps: Sweeps, ask: Ask, pass_time: PassTime, clock: Clock
) -> None:
    """Kubeflow 6648: the last use of before put every notebook to sleep as soon as it was started."""
    await sweeps(40)
    assert ready().phase is Phase.ASLEEP
    clock.advance(days=3)
    await sweeps(2)
    await ask("wake tinyllama")
    await sweeps(3)  # while it loads, too
    await pass_time(200)
    await sweeps(15)
    assert ready().phase is Phase.READY and ready().record.warned_at is None
    await sweeps(25)
    assert ready().phase is Phase.ASLEEP


async def test_keep_moves_the_end_of_a_lease_too(
    ask: Ask, pass_time: PassTime, sweeps: Sweeps, cluster: SimulatedCluster, clock: Clock
) -> None:
    await ask("deploy tinyllama ttl=1h")
    await pass_time(200)
    await ask("keep tinyllama 4h")
    [workload] = cluster.workloads()
    assert workload.record.lease_ends_at == workload.record.keep_until == clock.now() + timedelta(hours=4)
    await ask("keep tinyllama 1h")
    assert cluster.workloads()[0].record.keep_until == clock.now() + timedelta(hours=4)  # never sooner


async def test_whom_a_person_put_to_sleep_sleeps_until_the_office_opens_again(
    ask: Ask, pass_time: PassTime, sweeps: Sweeps, cluster: SimulatedCluster, chat: Chat, say: Say
) -> None:
    await ask("deploy tinyllama hours=mo-fr 8-20")
    await pass_time(200)
    await ask("sleep tinyllama")
    await sweeps(6 * 60)
    assert cluster.workloads()[0].replicas == 0 and told(chat, say)[1:] == []
    await sweeps(13 * 60)
    assert cluster.workloads()[0].replicas == 1


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 4))
async def test_killed_at_any_step_of_a_wake_the_next_question_is_answered(
    dies_at: int,
    before: bool,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ready: Ready,
    ask: Ask,
    pass_time: PassTime,
    say: Say,
) -> None:
    await ask("sleep tinyllama")
    calls = [0]
    mortal = partial(Mortal, awaited=AWAITED, calls=calls, dies_at=dies_at, before=before)
    built = wiring.build(settings, mortal(cluster), mortal(inference), mortal(chat), clock)
    dying = asyncio.create_task(question(built, "eve", 0, random.Random(1)))
    for _ in range(300):
        await pass_time(1)
        if dying.done():
            break
    assert isinstance(dying.exception(), Killed)
    asking = asyncio.create_task(ask("ask tinyllama hello", who="eve"))
    while not asking.done():
        await pass_time(1)
    assert "tokens/s" in say(asking.result()[-1].footnote)
    assert len(cluster.workloads()) == 1 and ready().replicas == 1


@pytest.fixture
def foreign(cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else decides how many replicas there are."""
    seen, find = cluster.workloads, cluster.find
    others = {"managed_by": "Argo CD"}
    monkeypatch.setattr(cluster, "workloads", lambda: [w.model_copy(update=others) for w in seen()])
    monkeypatch.setattr(cluster, "find", lambda name: (w := find(name)) and w.model_copy(update=others))


async def test_what_others_manage_is_left_alone_and_admins_hear_of_it_once(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ready: Ready,
    sweeps: Sweeps,
    foreign: None,
    say: Say,
    ask: Ask,
) -> None:
    told_admins = settings.model_copy(update={"admin_channel": "test:admins"})
    sweep = wiring.build(told_admins, cluster, inference, chat, clock).sweep
    await sweeps(100, sweep=sweep)
    assert ready().replicas == 1
    [message] = told(chat, say)
    assert "Argo CD" in message and "tinyllama" in message
    again = wiring.build(told_admins, cluster, inference, chat, clock).sweep
    await sweeps(100, sweep=again)
    assert told(chat, say) == [message]  # nor after a restart
    assert "Argo CD controls" in say((await ask("why tinyllama"))[0].lines[-1])
    await ask("ask tinyllama hello")
    await sweeps(50, sweep=again)
    shown = [text for text in told(chat, say) if "Argo CD" in text]
    assert len(shown) == 2  # used, and idle again: that is news
