"""Admins hear of what is wrong: once, changed in place, and that it is over."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.alerts.alert_messages import digest
from bot.core.alerts.state import Alert, AlertKind
from bot.core.alerts.stored import read_state
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, User
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.ending import Ending
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Figures
from bot.engines.vllm.inference import VllmInference
from bot.platforms.mattermost.render import render
from bot.platforms.slack.render import blocks
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import THREAD, Chat, Clock, PassTime, Say
from tests.fakes.mortal import Killed, Mortal

OOM = "a GPU ran out of memory while the model was starting"


class Monitoring:
    """What a Prometheus would say."""

    def __init__(self) -> None:
        self.now = Figures()

    async def figures(self) -> Figures:
        return self.now


Board = Callable[[], list[str]]


class Build(Protocol):
    """A bot at work; `chat` and `cluster` may be stand-ins for those of the test."""

    def __call__(self, chat: Any = ..., cluster: Any = ...) -> App: ...


class SayTo(Protocol):
    """Type a line to one of the bots; its replies."""

    async def __call__(self, bot: App, line: str, who: str = "grace") -> list[Reply]: ...


@pytest.fixture
def monitoring() -> Monitoring:
    return Monitoring()


@pytest.fixture
def build(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    monitoring: Monitoring,
) -> Build:
    """A bot that knows where admins read; another one is the same after a restart."""
    told = settings.model_copy(update={"admin_channel": "test:admins"})

    def build(chat: Any = chat, cluster: Any = cluster) -> App:
        return wiring.build(told, cluster, inference, chat, clock, monitoring=monitoring)

    return build


@pytest.fixture
def say_to() -> SayTo:
    async def say_to(bot: App, line: str, who: str = "grace") -> list[Reply]:
        return [r async for r in bot.dispatcher.handle(Message(line, User(who, who), THREAD))]

    return say_to


@pytest.fixture
def board(chat: Chat, say: Say) -> Board:
    """Every alert as it looks now."""
    return lambda: [say(history[-1].text) for history in chat.messages.values() if history[-1].key]


async def failing(bot: App, say_to: SayTo, pass_time: PassTime, count: int = 1) -> None:
    for number in range(count):
        await say_to(bot, f"deploy tinyllama name=fail-{number}")
    await pass_time(200)


async def test_a_failure_is_told_once_with_its_cause_and_what_to_do_and_resolved(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    chat: Chat,
    say: Say,
    board: Board,
    clock: Clock,
) -> None:
    bot = build()
    watching = asyncio.create_task(bot.services.card_updater.run())
    await say_to(bot, "deploy llama-3-8b")
    await pass_time(400)
    await bot.alerts.look()
    assert board() == []
    await say_to(bot, "simulate fail cuda_oom llama-3-8b")
    await pass_time(10)
    for _ in range(3):
        await bot.alerts.look()
    [told] = board()
    assert told.startswith(f"#1 llama-3-8b (grace) is not running: {OOM} · cuda_oom · icc-gpu-")
    alert = chat.last
    assert "CUDA out of memory" in say(alert.lines[0]) and "more GPUs" in say(alert.lines[1])
    assert [b.command for b in alert.buttons] == [
        "logs llama-3-8b",
        "scale llama-3-8b tp=4",
        "alerts silence 1 1h",
        "alerts silence 1 1d",
        "alerts ack 1",
    ]
    await say_to(bot, alert.buttons[1].command)
    await pass_time(30)
    await bot.alerts.look()
    assert board() == [told]  # it starts again: neither well nor anything new
    clock.advance(minutes=5)
    cluster.step()
    await bot.alerts.look()
    [over] = board()
    assert "· resolved " in over and over.endswith("after 5 min 30 s") and chat.last.tone is Tone.READY
    assert len([m for m in chat.messages.values() if m[0].key]) == 1
    watching.cancel()


async def test_a_storm_is_one_message_that_lists_all_and_shrinks(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    chat: Chat,
    say: Say,
    board: Board,
) -> None:
    cluster.capacity = {"big": 400}
    bot = build()
    await failing(bot, say_to, pass_time, 50)
    await bot.alerts.look()
    assert board() == ["50 incidents at once, 50 still open"]
    [line] = chat.last.lines
    assert all(f"fail-{number}" in say(line) for number in range(50))
    for number in range(20):
        await cluster.remove(f"fail-{number}")
    await bot.alerts.look()
    assert board() == ["50 incidents at once, 30 still open"]
    for number in range(20, 50):
        await cluster.remove(f"fail-{number}")
    await bot.alerts.look()
    await bot.alerts.look()
    assert board() == ["50 incidents at once: all resolved"] and bot.alerts.state.posts == {}


def test_five_hundred_names_stand_in_one_message_of_each_chat(say: Say, clock: Clock) -> None:
    names = [f"qwen2.5-7b-{number:03}" for number in range(500)]
    alerts = [
        Alert(number=1, kind=AlertKind.FAILED, about=name, detail="cuda_oom", since=clock.now())
        for name in names
    ]
    told = digest(alerts, 500)
    in_slack = "".join(block["text"]["text"] for block in blocks(told, say)[:-1])
    assert all(name in in_slack and name in render(told, say) for name in names)


async def test_what_comes_one_by_one_is_told_one_by_one_until_it_is_a_storm(
    build: Build, say_to: SayTo, pass_time: PassTime, cluster: SimulatedCluster, board: Board
) -> None:
    cluster.capacity = {"big": 400}
    bot = build()
    names = [f"m-{number}" for number in range(12)]
    for name in names:
        await say_to(bot, f"deploy tinyllama name={name}")
    await pass_time(200)
    for name in names:
        cluster.fail(name, "cuda_oom")
        await bot.alerts.look()
    assert len(board()) == 6 and board()[-1] == "7 incidents at once, 7 still open"


async def test_a_restart_neither_repeats_nor_forgets(
    build: Build, say_to: SayTo, pass_time: PassTime, cluster: SimulatedCluster, chat: Chat, board: Board
) -> None:
    bot = build()
    await failing(bot, say_to, pass_time, 2)
    await bot.alerts.look()
    before = board()
    again = build()
    await again.alerts.look()
    assert board() == before and len(before) == 2
    await cluster.remove("fail-0")
    third = build()
    await third.alerts.look()
    assert "resolved" in board()[0] and len(board()) == 2
    assert [alert.about for alert in third.alerts.open()] == ["fail-1"]


AWAITED = ("save_state", "post", "edit", "find", "load_state")
"""All that telling waits for."""


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 10))
@pytest.mark.parametrize("count", [1, 8])
async def test_killed_at_any_step_each_is_told_once_and_resolved(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    chat: Chat,
    board: Board,
    count: int,
    dies_at: int,
    before: bool,
    clock: Clock,
) -> None:
    cluster.capacity = {"big": 400}
    calls = [0]
    await failing(build(), say_to, pass_time, count)
    bot = build(*(Mortal(inner, AWAITED, calls, dies_at, before=before) for inner in (chat, cluster)))
    for turn in range(4):
        if turn == 2:
            for number in range(count):
                await cluster.remove(f"fail-{number}")
        try:
            await bot.alerts.look()
        except Killed:
            bot = build()
            await bot.alerts.look()
        clock.advance(seconds=60)
    assert len(board()) == 1 and "resolved" in board()[0]


async def test_a_chat_that_is_away_delays_and_repeats_nothing(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    chat: Chat,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = build()
    await failing(bot, say_to, pass_time)

    async def away(*_: object) -> None:
        raise UserError(t("slack.refused", why="unreachable"))

    with monkeypatch.context() as unreachable:
        unreachable.setattr(chat, "post", away)
        await bot.alerts.look()
    assert board() == []
    await bot.alerts.look()
    await bot.alerts.look()
    assert len(board()) == 1


REFUSED = [
    ("ada", "alerts", "admin"),
    ("grace", "alerts ack 99", "no open alert about 99"),
    ("grace", "alerts silence", "alerts silence 17"),
]


async def test_silence_acknowledge_and_reminders(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    chat: Chat,
    say: Say,
    board: Board,
    clock: Clock,
) -> None:
    bot = build()
    await failing(bot, say_to, pass_time)
    await bot.alerts.look()
    for who, line, answer in REFUSED:
        assert answer in say((await say_to(bot, line, who))[0].text)
    clock.advance(days=1)
    await bot.alerts.look()
    assert board()[0] == "still open: see the newer message" and "#1 fail-0" in board()[1]
    assert "open for 1 d" in [say(line) for line in chat.last.lines]
    [done] = await say_to(bot, "alerts silence fail-0 2h")
    assert say(done.text) == "fail-0 is silenced for 2 h."
    assert "silenced until" in say((await say_to(bot, "alerts"))[0].lines[0])
    await say_to(bot, "alerts ack #1")
    await bot.alerts.look()
    assert "taken care of by grace" in [say(line) for line in chat.last.lines]
    assert not any(button.command.startswith("alerts ack") for button in chat.last.buttons)
    clock.advance(days=3)
    await bot.alerts.look()
    assert len(board()) == 2  # who takes care of it is not reminded
    await cluster.remove("fail-0")
    await bot.alerts.look()
    assert "resolved" in board()[1]


async def test_what_is_silent_is_told_when_the_silence_ends(
    build: Build, say_to: SayTo, pass_time: PassTime, cluster: SimulatedCluster, board: Board, clock: Clock
) -> None:
    bot = build()
    await failing(bot, say_to, pass_time)
    await bot.alerts.look()
    await say_to(bot, "alerts silence 1 1h")
    await cluster.remove("fail-0")
    await bot.alerts.look()
    await failing(bot, say_to, pass_time)
    await bot.alerts.look()
    assert len(board()) == 1 and "resolved" in board()[0]
    clock.advance(hours=1)
    await bot.alerts.look()
    assert len(board()) == 2 and board()[1].startswith("#2 fail-0")


async def test_nodes_and_their_gpus(
    build: Build, cluster: SimulatedCluster, board: Board, say_to: SayTo
) -> None:
    bot = build()
    await bot.alerts.look()
    cluster.capacity["icc-gpu-1"] = 3
    await bot.alerts.look()
    assert board()[0].startswith("#1 node icc-gpu-1 offers only 3/4 of its GPUs")
    await say_to(bot, "alerts ack icc-gpu-1")  # so be it
    await bot.alerts.look()
    assert "resolved" in board()[0]
    del cluster.capacity["icc-gpu-2"]
    await bot.alerts.look()
    assert board()[1].startswith("#2 node icc-gpu-2 is not ready")
    cluster.capacity["icc-gpu-2"] = 4
    await bot.alerts.look()
    assert "resolved" in board()[1]


class Faulty:
    """A cluster with models that their node's GPUs have failed."""

    def __init__(self, cluster: SimulatedCluster, at: datetime) -> None:
        self._cluster = cluster
        self.end = Ending(number=2, run="uid/1", at=at, cause="gpu_lost", node="icc-gpu-1", evidence="lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def workloads(self) -> Sequence[Workload]:
        """All with that end."""
        return [w.model_copy(update={"last_end": self.end}) for w in self._cluster.workloads()]


async def test_a_lost_gpu_is_one_alert_of_its_node_until_somebody_drains_it(
    build: Build, cluster: SimulatedCluster, board: Board, say_to: SayTo, clock: Clock, chat: Chat, say: Say
) -> None:
    bot = build(cluster=Faulty(cluster, clock.now()))
    for name in ("one", "two"):
        await say_to(bot, f"deploy tinyllama name={name}")
    await bot.alerts.look()
    assert [text.split(" · ")[0] for text in board()] == ["#1 a GPU of icc-gpu-1 is faulty (two)"]
    shown = next(history[-1] for history in chat.messages.values() if history[-1].key)
    told = [say(line) for line in shown.lines]
    assert told[0] == "“lost”" and "kubectl drain icc-gpu-1 --ignore-daemonsets" in told[1]
    cluster.cordoned.add("icc-gpu-1")
    await bot.alerts.look()
    assert "resolved" in board()[0]


async def test_a_model_that_has_run_and_starts_again_has_not_been_starting_since_it_was_asked_to(
    build: Build,
    cluster: SimulatedCluster,
    board: Board,
    say_to: SayTo,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = build()
    await say_to(bot, "deploy llama-3-8b")
    [workload] = cluster.workloads()
    record = workload.record.changed(ready_at=clock.now())
    clock.advance(hours=5)
    again = {"phase": Phase.LOADING, "since": clock.now(), "record": record}
    monkeypatch.setattr(cluster, "workloads", lambda: [workload.model_copy(update=again)])
    await bot.alerts.look()
    assert board() == []


async def test_what_monitoring_shows(
    build: Build, cluster: SimulatedCluster, board: Board, monitoring: Monitoring
) -> None:
    bot = build()
    monitoring.now = Figures(faults={"icc-gpu-1": 79}, volumes={"llm-models": 0.9, "other": 0.2})
    await bot.tick()
    assert sorted(text.split(" · ")[0] for text in board()) == [
        "#1 a GPU of icc-gpu-1 is faulty (XID 79)",
        "#2 volume llm-models is 90% full",
    ]


async def test_a_model_that_never_gets_ready_one_that_waits_and_one_that_is_kept(
    build: Build, cluster: SimulatedCluster, board: Board, say_to: SayTo, pass_time: PassTime, clock: Clock
) -> None:
    bot = build()
    await say_to(bot, "deploy llama-3-70b quant=gptq")
    await say_to(bot, "deploy llama-3-70b quant=gptq name=b")
    await say_to(bot, "deploy llama-3-70b quant=gptq name=c")
    cluster.hang("b")
    await pass_time(900)
    await say_to(bot, "keep llama-3-70b 4h")
    for _ in range(40):
        clock.advance(minutes=1)
        await bot.tick()
    texts = [text.split(" ", 1)[1].split(" · ")[0] for text in board()]
    assert "c (grace) has been waiting for GPUs for more than 30 min" in texts
    assert "llama-3-70b (grace) is idle but kept awake" in texts


@pytest.mark.parametrize(
    "now, told",
    [
        ({"phase": Phase.LOADING}, "has been starting for too long"),
        ({"phase": Phase.ASLEEP, "ending_since": "since"}, "a pod of llama-3-8b (grace) does not terminate"),
    ],
)
async def test_a_load_without_end_and_a_pod_without_end_are_told_and_resolved(
    build: Build,
    cluster: SimulatedCluster,
    board: Board,
    say_to: SayTo,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    now: dict[str, object],
    told: str,
) -> None:
    bot = build()
    await say_to(bot, "deploy llama-3-8b")
    [workload] = cluster.workloads()
    since = {name: clock.now() if value == "since" else value for name, value in now.items()}
    monkeypatch.setattr(cluster, "workloads", lambda: [workload.model_copy(update=since)])
    await bot.alerts.look()
    assert board() == []
    clock.advance(hours=1)
    await bot.alerts.look()
    [text] = board()
    assert text.startswith("#1 ") and told in text
    monkeypatch.undo()
    clock.advance(minutes=1)
    await ready(cluster, clock)
    await bot.alerts.look()
    [text] = board()
    assert told in text and "resolved" in text


async def ready(cluster: SimulatedCluster, clock: Clock) -> None:
    """Everything that starts has started."""
    for _ in range(600):
        clock.advance(seconds=1)
        cluster.step()


async def test_the_bot_tells_of_itself(
    build: Build,
    cluster: SimulatedCluster,
    board: Board,
    clock: Clock,
    chat: Chat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = build()
    monkeypatch.setattr(chat, "away", lambda: ["slack"])
    monkeypatch.setattr(cluster, "missing_rights", lambda: ["nodes"])
    await bot.alerts.look()
    assert [text.split(" · ")[0] for text in board()] == ["#1 I am not allowed to read nodes"]
    clock.advance(minutes=3)
    await bot.alerts.look()
    assert board()[1].startswith("#2 slack cannot be reached")


async def test_a_part_that_does_not_work_is_told_until_it_does(
    build: Build, cluster: SimulatedCluster, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = build()
    monkeypatch.setattr(cluster, "stalled", lambda: ["pods"])
    bot = build()  # it asks the cluster by itself
    await bot.alerts.look()
    assert board()[0].startswith("#1 a part of llm-bot does not work: pods")
    monkeypatch.undo()
    await build().alerts.look()
    assert "resolved" in board()[0]


async def test_a_sweep_that_fails_three_times_is_told(
    build: Build, cluster: SimulatedCluster, board: Board, bot: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build()

    async def broken() -> None:
        raise RuntimeError

    monkeypatch.setattr(built.services.activity, "sweep", broken)
    for _ in range(4):
        await built.tick()
    assert board()[0].startswith("#1 my work on sample keeps failing: sample (RuntimeError)")
    monkeypatch.undo()
    await built.tick()
    assert "resolved" in board()[0]


async def test_busy_gpus_keep_a_model_awake_and_why_says_so(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    clock: Clock,
    monitoring: Monitoring,
    say: Say,
) -> None:
    bot = build()
    await say_to(bot, "deploy tinyllama")
    await pass_time(200)
    [server] = cluster.servers("tinyllama")
    monitoring.now = Figures(busy={f"demo/{server.pod}": 0.4})
    for _ in range(60):
        clock.advance(minutes=1)
        await bot.tick()
    assert cluster.workloads()[0].replicas == 1
    [why] = await say_to(bot, "why tinyllama")
    assert "Its GPUs are busy: up to 40% in the last 10 min." in [say(line) for line in why.lines]
    monitoring.now = Figures(busy={f"demo/{server.pod}": 0.0})
    for _ in range(15):
        clock.advance(minutes=1)
        await bot.tick()
    assert cluster.workloads()[0].replicas == 0


async def test_without_a_place_of_the_admins_alerts_are_listed_on_demand(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    say_to: SayTo,
    pass_time: PassTime,
    say: Say,
) -> None:
    bot = wiring.build(settings, cluster, inference, chat, clock)
    await failing(bot, say_to, pass_time)
    await bot.alerts.look()
    assert not any(history[-1].key for history in chat.messages.values())
    [listed] = await say_to(bot, "alerts")
    assert say(listed.text) == "1 open alert" and "#1 fail-0" in say(listed.lines[0])


async def test_what_nobody_can_read_is_set_aside_and_told_alerts_begin_anew(
    build: Build,
    say_to: SayTo,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aside: list[str] = []

    async def set_aside(text: str) -> None:
        aside.append(text)

    monkeypatch.setattr(cluster, "set_state_aside", set_aside)
    await cluster.save_state("{broken")
    bot = build()
    await failing(bot, say_to, pass_time)
    await bot.alerts.look()
    assert aside == ["{broken"] and len(board()) == 1
    assert '"format": 3' in await cluster.load_state()


async def test_what_a_newer_version_has_told_is_left_alone_and_said(
    build: Build, say_to: SayTo, pass_time: PassTime, cluster: SimulatedCluster, board: Board, say: Say
) -> None:
    newer = '{"format": 4, "incidents": []}'
    await cluster.save_state(newer)
    bot = build()
    await failing(bot, say_to, pass_time)
    for _ in range(2):
        await bot.alerts.look()
    assert board() == [] and await cluster.load_state() == newer
    assert bot.alerts.down() == ["alerts: what was told is in a newer format"]
    for line in ("alerts", "alerts ack 1", "alerts silence 1 1h"):
        [reply] = await say_to(bot, line)
        assert "by a newer version of me" in say(reply.text)
    await cluster.save_state("")  # the newer version has gone on and cleaned up, or somebody did
    await bot.alerts.look()
    assert len(board()) == 1 and bot.alerts.down() == []


async def test_a_deployment_of_a_newer_version_is_told_and_shown(
    build: Build,
    say_to: SayTo,
    cluster: SimulatedCluster,
    board: Board,
    say: Say,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "written_by_newer", lambda: ["llm-future"])
    bot = build()
    await bot.alerts.look()
    assert board()[0].startswith("#1 llm-future was written by a newer version of me")
    [status] = await say_to(bot, "status")
    assert "llm-future was written by a newer version" in say(status.lines[0])
    for line in ("status future", "stop future", "wake future"):
        [refused] = await say_to(bot, line)
        assert say(refused.text).startswith("llm-future was written by a newer version of me")


class Held:
    """Calls of a method wait, from the one with this number on, until they may go on."""

    def __init__(self, inner: Callable[..., Awaitable[Any]], number: int) -> None:
        self._inner, self._left = inner, number
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *arguments: Any) -> Any:
        self._left -= 1
        if self._left <= 0:
            self.begun.set()
            await self.may_go_on.wait()
        return await self._inner(*arguments)


@pytest_asyncio.fixture
async def failed(build: Build, say_to: SayTo, pass_time: PassTime) -> App:
    """A bot, and a model that has failed."""
    built = build()
    await failing(built, say_to, pass_time)
    return built


def shown(chat: Chat, say: Say) -> list[str]:
    """All that the messages of alerts say now."""
    messages = [history[-1] for history in chat.messages.values() if history[-1].key]
    return [say(text) for message in messages for text in (message.text, *message.lines) if text]


async def test_what_an_admin_silences_while_alerts_are_saved_is_saved_next(
    failed: App, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(cluster.save_state, 2)  # the one after the alert is posted
    monkeypatch.setattr(cluster, "save_state", held)
    looking = asyncio.create_task(failed.alerts.look())
    await held.begun.wait()
    failed.alerts.silence("1", timedelta(days=7))
    held.may_go_on.set()
    await looking
    await failed.alerts.look()
    assert list(read_state(await cluster.load_state()).silenced) == ["failed:fail-0"]


async def test_what_an_admin_decides_before_the_first_look_is_about_what_was_told_before(
    failed: App, build: Build, say_to: SayTo, cluster: SimulatedCluster
) -> None:
    await failed.alerts.look()
    again = build()
    await say_to(again, "alerts ack 1")
    await again.alerts.look()
    [alert] = read_state(await cluster.load_state()).alerts.values()
    assert (alert.number, alert.by) == (1, "grace")
    third = build()
    await third.alerts.look()
    assert [alert.by for alert in third.alerts.open()] == ["grace"]


@pytest.mark.parametrize("call", ["post", "edit"])
async def test_who_takes_care_of_it_while_its_message_is_written_is_shown_next(
    failed: App, chat: Chat, monkeypatch: pytest.MonkeyPatch, say: Say, call: str
) -> None:
    if call == "edit":
        await failed.alerts.look()
        failed.alerts.acknowledge("1", "Ada")
    else:
        failed.alerts.compare()
    held = Held(getattr(chat, call), 1)
    monkeypatch.setattr(chat, call, held)
    looking = asyncio.create_task(failed.alerts.look())
    await held.begun.wait()
    failed.alerts.acknowledge("1", "Grace")
    held.may_go_on.set()
    await looking
    await failed.alerts.look()
    assert "taken care of by Grace" in shown(chat, say)
    before = sum(map(len, chat.messages.values()))
    await failed.alerts.look()
    assert sum(map(len, chat.messages.values())) == before, "it is shown once"


async def test_without_a_place_messages_of_before_are_forgotten_and_what_is_over_too(
    failed: App,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
) -> None:
    await failed.alerts.look()
    elsewhere = wiring.build(settings, cluster, inference, chat, clock)
    await elsewhere.alerts.look()
    assert [alert.about for alert in elsewhere.alerts.open()] == ["fail-0"]
    await cluster.remove("fail-0")
    await elsewhere.alerts.look()
    stored = read_state(await cluster.load_state())
    assert not stored.alerts and not stored.posts
