"""Exceptions in what is done about one model: it alone is late, and admins hear of it once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.manifests import WorkloadSettings
from bot.core.bulkhead import OFTEN
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place, Turn
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Text, t, verbatim
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Workload
from bot.core.frozen import EARLIEST, LATEST
from bot.core.idle.next_step import Evidence, next_step
from bot.core.idle.verdict import ActivityWindow, IdlePolicy, LivenessInputs
from bot.core.ports import Endpoint, Figures, Load, Piece, Sampling
from bot.engines.vllm.engine import Vllm
from bot.engines.vllm.inference import VllmInference
from bot.platforms.console.adapter import Console
from bot.simulator.cluster import SimulatedCluster
from tests.cluster.objects import RECORD, deployment, spec
from tests.conftest import THREAD, Chat, Clock, PassTime, Say, eventually, settle, text_of
from tests.fakes.kubernetes import FakeKubernetes

DEPLOYMENTS, PODS = "/apis/apps/v1/namespaces/demo/deployments", "/api/v1/namespaces/demo/pods"
ADMINS = Place("test", "admins")
MODELS = ("a1", "b1", "c1")
BROKEN = "b1"
"""The model whose work goes wrong."""
Json = dict[str, Any]


class Hurt:
    """A cluster in which what is done to one model raises, as long as it is broken; by the method's name."""

    def __init__(self, cluster: SimulatedCluster, *methods: str) -> None:
        self._cluster, self.methods, self.tries = cluster, methods, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        if name not in self.methods:
            return found

        async def method(about: Any, *arguments: Any, **more: Any) -> Any:
            if BROKEN in (about, getattr(about, "name", "")):
                self.tries += 1
                raise RuntimeError("a bug")
            return await found(about, *arguments, **more)

        return method


class HurtInference:
    """Answers all models but one, whose server talks such nonsense that reading it raises."""

    def __init__(self, inference: VllmInference, *methods: str) -> None:
        self._inference, self.methods, self.tries = inference, methods, 0

    async def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        self._check("answer", endpoint.model)
        async for piece in self._inference.answer(endpoint, turns, sampling):
            yield piece

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        return await self._inference.count_tokens(endpoint, turns)

    async def load(self, url: str) -> Load | None:
        self._check("load", url.rpartition("-")[2])
        return await self._inference.load(url)

    def _check(self, method: str, name: str) -> None:
        if method in self.methods and name == BROKEN:
            self.tries += 1
            raise OverflowError("cannot convert float infinity to integer")


class HurtChat(Chat):
    """A chat in which what is shown of one model raises, as long as it is broken."""

    broken = True

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        if self.broken and (reply.text or Text("")).params.get("name") == BROKEN:
            raise KeyError("a bug")
        await super().edit(place, message, reply, locale)


Build = Callable[..., App]


@pytest_asyncio.fixture
async def build(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, chat: Chat, clock: Clock
) -> AsyncIterator[Build]:
    """The whole bot with some of its parts hurt, at work; admins read in a channel."""
    working: list[asyncio.Task[None]] = []
    built: list[App] = []
    told = settings.model_copy(update={"admin_channel": "test:admins"})

    def build(**parts: Any) -> App:
        usual: dict[str, Any] = {
            "cluster": cluster,
            "inference": inference,
            "messenger": chat,
            "clock": clock,
        }
        app = wiring.build(told, **(usual | parts))
        built.append(app)
        jobs = (app.services.card_updater.run, app.services.progress.run, app.gpu_queue.follow)
        working.extend(asyncio.create_task(job()) for job in (*jobs, app.services.pending_questions.run))
        return app

    yield build
    ended = [task for task in working if task.done()]
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    for app in built:
        await app.close()
    assert not ended, "a loop has ended"


async def say_to(app: App, chat: Chat, line: str, who: str = "grace") -> list[Reply]:
    """Every reply to a line, shown as a platform does."""
    from bot.core.chat.message import User

    replies, sent, seen = app.dispatcher.handle(Message(line, User(who, who, "en"), THREAD)), None, []
    try:
        reply = await anext(replies)
        while True:
            seen.append(reply)
            if sent is None:
                sent = await chat.post(THREAD, reply)
            else:
                await chat.edit(THREAD, sent, reply)
            reply = await replies.asend(sent)
    except StopAsyncIteration:
        return seen


async def deployed(app: App, chat: Chat, pass_time: PassTime, seconds: float = 200) -> None:
    for name in MODELS:
        await say_to(app, chat, f"deploy tinyllama name={name}")
    await pass_time(seconds)


def cards(chat: Chat) -> dict[str, str]:
    """What the card of each model says now: the key of its sentence."""
    shown = [text_of(history[-1]) for history in chat.messages.values() if history[-1].text]
    return {text.params["name"]: text.key for text in shown if text.key.startswith("card.")}


def alerts(chat: Chat, say: Say) -> list[str]:
    """The first line of each message to admins, as it is now."""
    return [say(history[-1].text) for history in chat.messages.values() if history[-1].key]


async def told_once(app: App, chat: Chat, say: Say, what: str) -> None:
    """Admins hear of it, in one message however often they are told."""
    for _ in range(3):
        await app.alerts.look()
    assert [line for line in alerts(chat, say) if what in line and BROKEN in line] == alerts(chat, say)
    assert len(alerts(chat, say)) == 1


async def test_kind_02_a_first_question_that_raises_holds_up_its_own_card_alone(
    build: Build, inference: VllmInference, chat: Chat, pass_time: PassTime, say: Say
) -> None:
    hurt = HurtInference(inference, "answer")
    app = build(inference=hurt)
    await deployed(app, chat, pass_time)
    assert {name for name, key in cards(chat).items() if key == "card.ready"} == {"a1", "c1"}
    assert hurt.tries >= OFTEN
    await told_once(app, chat, say, "smoke-test (OverflowError)")
    hurt.methods = ()
    for _ in range(10):
        if cards(chat)[BROKEN] != "card.ready":  # it is tried again after a pause
            await pass_time(80)
    await app.alerts.look()
    assert cards(chat)[BROKEN] == "card.ready" and "resolved" in alerts(chat, say)[0]


@pytest.mark.parametrize(
    ("method", "work"), [("remove_dead_pods", "end"), ("log_of_run", "start"), ("update_record", "start")]
)
async def test_what_cannot_be_written_down_of_one_model_holds_up_no_other(
    build: Build, cluster: SimulatedCluster, chat: Chat, pass_time: PassTime, say: Say, method: str, work: str
) -> None:
    app = build(cluster=Hurt(cluster, method))
    await deployed(app, chat, pass_time)
    assert {key for name, key in cards(chat).items() if name != BROKEN} == {"card.ready"}
    await app.alerts.look()
    assert any(f"my work on {BROKEN} keeps failing" in line and work in line for line in alerts(chat, say))


async def test_a_card_that_cannot_be_shown_holds_up_no_other_and_is_shown_once_it_can(
    build: Build, pass_time: PassTime, say: Say
) -> None:
    chat = HurtChat()
    app = build(messenger=chat)
    chat.broken = False
    for name in MODELS:
        await say_to(app, chat, f"deploy tinyllama name={name}")
    chat.broken = True
    await pass_time(200)
    assert {name for name, key in cards(chat).items() if key == "card.ready"} == {"a1", "c1"}
    await told_once(app, chat, say, "card (KeyError)")
    chat.broken = False
    await pass_time(80)
    assert cards(chat)[BROKEN] == "card.ready"


async def test_the_log_of_one_model_that_cannot_be_read_hides_no_progress_of_others(
    build: Build, cluster: SimulatedCluster, chat: Chat, pass_time: PassTime
) -> None:
    app = build(cluster=Hurt(cluster, "logs"))
    await deployed(app, chat, pass_time, seconds=40)
    await pass_time(1)
    starting = [w for w in cluster.workloads() if app.services.progress.of(w)]
    assert BROKEN not in [w.name for w in starting]
    await pass_time(160)
    assert set(cards(chat).values()) == {"card.ready"}


async def test_kind_09_a_gauge_that_cannot_be_read_stops_the_sweep_of_no_other(
    build: Build,
    inference: VllmInference,
    cluster: SimulatedCluster,
    chat: Chat,
    clock: Clock,
    say: Say,
    pass_time: PassTime,
) -> None:
    app = build(inference=HurtInference(inference, "load"))
    await deployed(app, chat, pass_time)
    for _ in range(50):
        clock.advance(minutes=1)
        cluster.step()
        await settle()
        await app.sweep()
    asleep = {w.name for w in cluster.workloads() if w.phase is Phase.ASLEEP}
    assert asleep == {"a1", "c1"}  # nothing is known of the other one: that never scales down
    await told_once(app, chat, say, "sample (OverflowError)")


class HurtMonitoring:
    """Cannot be read."""

    async def figures(self) -> Figures:
        raise ValueError("cannot convert float NaN to integer")


@pytest.mark.parametrize("part", ["monitoring", "usage", "queue", "reclaim"])
async def test_kind_09_no_part_of_a_sweep_stops_the_others(
    build: Build,
    cluster: SimulatedCluster,
    chat: Chat,
    clock: Clock,
    pass_time: PassTime,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = build(monitoring=HurtMonitoring() if part == "monitoring" else None)
    await deployed(app, chat, pass_time)

    def broken(*_: object) -> Any:
        raise RuntimeError("a bug")

    if part == "usage":
        monkeypatch.setattr(app.usage_recorder, "measure", broken)
    if part == "queue":
        monkeypatch.setattr(app.gpu_queue, "advance", broken)
    if part == "reclaim":
        monkeypatch.setattr(app.gpu_queue, "model_to_reclaim", broken)
    for _ in range(50):
        clock.advance(minutes=1)
        cluster.step()
        await settle()
        await app.tick()
    assert {w.phase for w in cluster.workloads()} == {Phase.ASLEEP}
    assert [alert.about for alert in app.alerts.open()] == [part]


async def test_kind_14_a_start_from_the_queue_that_raises_holds_up_no_other(
    build: Build, cluster: SimulatedCluster, chat: Chat, pass_time: PassTime, say: Say
) -> None:
    hurt = Hurt(cluster, "change")
    app = build(cluster=hurt)
    for name in ("m1", "m2"):
        await say_to(app, chat, f"deploy llama-3-70b quant=gptq tp=4 name={name}")
    await pass_time(5)
    await say_to(app, chat, f"deploy tinyllama name={BROKEN}")
    await say_to(app, chat, "deploy tinyllama name=c1")
    await say_to(app, chat, "stop m1 --sure")
    await pass_time(10)
    phases = {workload.name: workload.phase for workload in cluster.workloads()}
    assert phases[BROKEN] is Phase.QUEUED and phases["c1"] is not Phase.QUEUED and hurt.tries
    for _ in range(OFTEN):
        await app.gpu_queue.advance()
    await told_once(app, chat, say, "queue (RuntimeError)")
    hurt.methods = ()
    await app.gpu_queue.advance()
    await pass_time(1)
    assert cluster.find(BROKEN).phase is not Phase.QUEUED  # type: ignore[union-attr]


class Resuming(Chat):
    """A chat in which one question cannot go on, as long as it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.broken, self.resumed = True, list[str]()

    async def resume(self, place: Place, message: str) -> bool:
        self.resumed.append(message)
        if message == "bad" and self.broken:
            raise KeyError("a bug")
        if message == "long":
            await asyncio.Event().wait()
        return True


async def test_a_question_that_cannot_go_on_ends_no_other_and_is_tried_again(
    build: Build, cluster: SimulatedCluster, clock: Clock
) -> None:
    chat = Resuming()
    app = build(messenger=chat)
    for name in MODELS:
        await say_to(app, chat, f"deploy tinyllama name={name}")
    await cluster.update_record("a1", pending_questions={"long": THREAD})
    await cluster.update_record(BROKEN, pending_questions={"bad": THREAD})
    for _ in range(30):
        clock.advance(seconds=5)
        await settle()
    assert chat.resumed.count("long") == 1 and chat.resumed.count("bad") >= OFTEN
    assert BROKEN in app.bulkhead.lasting()
    chat.broken = False
    for _ in range(30):
        clock.advance(seconds=5)
        await settle()
    assert cluster.find(BROKEN).record.pending_questions == {}  # type: ignore[union-attr]
    assert app.bulkhead.lasting() == {}


class PickyChat(Chat):
    """A chat that never takes one message."""

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        if place == ADMINS and BROKEN in str((reply.text or Text("")).params):
            raise UserError(t("error.api_away"))
        return await super().post(place, reply, locale)


async def test_an_alert_that_cannot_be_posted_holds_up_no_other(
    build: Build, cluster: SimulatedCluster, pass_time: PassTime
) -> None:
    chat = PickyChat()
    app = build(messenger=chat)
    await deployed(app, chat, pass_time)
    for name in (BROKEN, "c1"):  # the first one is not taken
        cluster.fail(name, "cuda_oom")
    await pass_time(40)
    await app.alerts.look()
    assert {alert.about for alert in app.alerts.open()} == {BROKEN, "c1"}
    posted = [history[-1] for history in chat.messages.values() if history[-1].key]
    assert len(posted) == 1 and "c1" in str(text_of(posted[0]).params)


@asynccontextmanager
async def on_kubernetes(
    settings: Settings, inference: VllmInference, chat: Chat, clock: Clock, folder: Path
) -> AsyncIterator[tuple[App, FakeKubernetes]]:
    """The bot with the model `tiny`, whose card is the message m1."""
    kubernetes = FakeKubernetes()
    url = await kubernetes.start()
    config = kubernetes.kubeconfig(folder)
    await chat.post(THREAD, Reply(verbatim("its card")))
    record = RECORD.changed(card_place=THREAD, card_message_id="m1")
    await kubernetes.put(DEPLOYMENTS, deployment(record=record))
    told = settings.model_copy(update={"admin_channel": "test:admins"})
    try:
        async with KubernetesCluster(config, WorkloadSettings(namespace="demo"), url, Vllm()) as cluster:
            app = wiring.build(told, cluster, inference, chat, clock)
            cards = asyncio.create_task(app.services.card_updater.run())
            yield app, kubernetes
            cards.cancel()
            await asyncio.gather(cards, return_exceptions=True)
            await app.close()
    finally:
        await kubernetes.stop()


async def test_a_record_that_somebody_broke_is_told_once_and_never_touched(
    settings: Settings, inference: VllmInference, chat: Chat, clock: Clock, tmp_path: Path, say: Say
) -> None:
    async with on_kubernetes(settings, inference, chat, clock, tmp_path) as (app, kubernetes):
        await eventually(lambda: cards(chat), 30)
        whole = kubernetes.object(f"{DEPLOYMENTS}/llm-tiny")
        whole["metadata"].pop("resourceVersion")
        theirs = deepcopy(whole)
        theirs["metadata"]["annotations"]["llm-bot/lease-ends-at"] = "9999-12-31T00:00:00Z"
        written = await kubernetes.put(DEPLOYMENTS, theirs)
        await eventually(lambda: app.services.cluster.unreadable(), 30)
        for _ in range(3):
            await app.alerts.look()
            await app.sweep()
        assert len(alerts(chat, say)) == 1
        assert "I cannot read the record of llm-tiny: lease_ends_at" in alerts(chat, say)[0]
        for line in ("status tiny", "sleep tiny", "stop tiny", "wake tiny", "keep tiny 1h"):
            [reply] = await say_to(app, chat, line)
            assert "I cannot read the record of llm-tiny" in say(reply.text)
        [status] = await say_to(app, chat, "status")
        assert "I cannot read the record of llm-tiny" in say(status.lines[0])
        await settle()
        assert kubernetes.object(f"{DEPLOYMENTS}/llm-tiny") == written
        assert text_of(chat.messages["m1"][-1]).key != "card.gone"
        await kubernetes.put(DEPLOYMENTS, whole)
        await eventually(lambda: app.services.cluster.find("tiny"), 30)
        await app.alerts.look()
        assert "resolved" in alerts(chat, say)[0]


async def nothing(message: Message) -> AsyncGenerator[Reply, str | None]:
    yield Reply(verbatim("before"))
    yield Reply(t("card.ready", name="x"))  # a parameter is missing: it cannot be rendered
    yield Reply(verbatim("never"))


async def test_a_reply_that_cannot_be_rendered_is_a_calm_sentence_and_ends_no_terminal(
    phrases: Phrasebook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("first\nsecond\n"))
    console = Console(phrases, "en", "ada")
    async with asyncio.timeout(20):
        await console.listen(nothing)
    shown = capsys.readouterr().out
    assert shown.count("Something broke on my side.") == 2 and "> second" in shown


async def test_news_that_cannot_be_rendered_ends_no_terminal(
    phrases: Phrasebook, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(phrases, "en", "ada")
    place = Place("console", "terminal")
    sent = await console.post(place, Reply(verbatim("before")))
    await console.edit(place, sent, Reply(t("card.ready", name="x")))
    await console.edit(place, sent, Reply(verbatim("after")))
    shown = capsys.readouterr().out
    assert "Something broke on my side." in shown and "after" in shown


MOMENTS = st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None)).map(
    lambda moment: moment.replace(tzinfo=EARLIEST.tzinfo)
)
SPANS = st.timedeltas(timedelta(microseconds=1), timedelta(days=3650))
MAYBE = st.none() | MOMENTS


@given(MOMENTS, MOMENTS, MAYBE, MAYBE, MAYBE, SPANS, SPANS, st.lists(MOMENTS, max_size=3))
def test_kind_04_a_verdict_can_be_reckoned_from_whatever_is_stored(
    now: datetime,
    since: datetime,
    ends: datetime | None,
    kept: datetime | None,
    warned: datetime | None,
    window: timedelta,
    early: timedelta,
    samples: list[datetime],
) -> None:
    record = Record.model_validate(
        RECORD.model_dump()
        | {"lease_ends_at": ends, "keep_until": kept, "warned_at": warned, "idle_window": window}
    )
    workload = Workload(spec=spec(), record=record, phase=Phase.READY, since=since, created=since)
    policy = IdlePolicy()
    seen = ActivityWindow(policy.interval)
    for sample in samples:
        seen.add_sample(sample, {"x": Load(0, 0, 1.0)}, policy.window_of(workload))
    inputs = LivenessInputs(max(since, workload.last_used), record.keep_until)
    verdict = seen.judge(now, inputs, policy.window_of(workload))
    soon = seen.judge(now, inputs, policy.window_of(workload) - min(early, window))
    next_step(workload, Evidence(verdict, soon), policy, now)
