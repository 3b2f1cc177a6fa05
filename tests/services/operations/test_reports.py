"""What was used, given back, waited for and failed: for admins with a chart, for each person their own."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind
from bot.core.usage.reports import report
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.storage.ledger import SqlLedger
from tests.conftest import Ask, Chat, Clock, PassTime, Say

DAY = date(2030, 1, 1)
PNG = b"\x89PNG\r\n"


Hours = Callable[[float], Awaitable[None]]
"""Lets hours pass, with a sweep in each minute."""


@pytest.fixture
def hours(bot: App, cluster: SimulatedCluster, clock: Clock) -> Hours:
    async def hours(count: float) -> None:
        for _ in range(int(count * 60)):
            clock.advance(minutes=1)
            cluster.step()
            await bot.sweep()

    return hours


def cells(say: Say, reply: Reply) -> list[tuple[str, ...]]:
    assert reply.table
    return [tuple(say(cell) for cell in row) for row in reply.table.rows]


async def test_a_report_of_what_happened(
    ask: Ask, pass_time: PassTime, hours: Hours, say: Say, cluster: SimulatedCluster
) -> None:
    await hours(0.1)
    await ask("deploy llama-3-8b tp=4", who="ada")
    await ask("deploy tinyllama name=fail-x", who="bob")
    await pass_time(300)
    await hours(2)  # both give their GPUs back by themselves, after half an hour
    *_, told = await ask("report", who="grace")
    assert say(told.text).startswith("Last 7 days: ") and "GPU-hours used" in say(told.text)
    lines = [say(line) for line in told.lines]
    back = float(lines[0].split()[0])
    assert 5 < back < 8  # 4 GPUs for nearly an hour and a half, and one that failed
    assert "idle the longest: llama-3-8b (ada)" in lines[1]
    assert lines[-1] == "failures: 1 × cuda_oom"
    who, model, held, idle = cells(say, told)[0]
    assert (who, model) == ("ada", "llama-3-8b") and 1.8 < float(idle) <= float(held) < 2.6
    assert told.picture and told.picture.png.startswith(PNG)
    assert told.picture.name == "gpu-hours-2030-01-01.png"
    assert say(told.picture.alt) == "GPU-hours of the last 7 days: busy, idle and free"
    [refused] = await ask("report", who="ada")
    assert refused.tone is Tone.FAILED


async def test_a_report_names_nobody_as_idle_where_nothing_was(ask: Ask, hours: Hours, say: Say) -> None:
    await ask("deploy tinyllama name=fail-x", who="ada")
    await hours(0.2)
    *_, told = await ask("report", who="grace")
    lines = [say(line) for line in told.lines]
    assert lines == ["failures: 1 × cuda_oom"]


async def test_everybody_sees_their_own_usage_and_no_other(
    ask: Ask, pass_time: PassTime, hours: Hours, say: Say
) -> None:
    await ask("deploy tinyllama", who="ada")
    await ask("deploy qwen3-0.6b", who="bob")
    await pass_time(300)
    await hours(0.25)
    [own] = await ask("usage", who="bob")
    assert own.private and [row[1] for row in cells(say, own)] == ["qwen3-0.6b"]
    [nothing] = await ask("usage", who="eve")
    assert nothing.table is None and "you used 0.0 GPU-hours" in say(nothing.text)


async def test_waits_in_line_are_counted_when_they_end(
    ask: Ask, pass_time: PassTime, hours: Hours, say: Say, cluster: SimulatedCluster
) -> None:
    for name in ("a", "b", "c"):
        await ask(f"deploy llama-3-70b quant=gptq name={name}", who="grace")
    await pass_time(60)
    await hours(0.25)
    await ask("stop a", who="grace")
    await pass_time(5)
    await hours(0.1)
    *_, told = await ask("report days=1", who="grace")
    assert any(say(line).startswith("1 wait in the queue, 1") for line in told.lines)


async def test_nothing_was_written_down_yet(ask: Ask, say: Say) -> None:
    *_, told = await ask("report", who="grace")
    assert say(told.text) == "Nothing was recorded on these days." and told.picture is None


async def test_a_ledger_of_a_newer_version_is_no_empty_report(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    say: Say,
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    written = SqlLedger(url)
    await written.add(DAY, [GpuUse("ada", "m", 3600)])
    await written.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("update ledger_version set version_num = '9999'")
    built = wiring.build(
        settings.model_copy(update={"database_url": SecretStr(url)}), cluster, inference, chat, clock
    )
    for told in (await built.services.reports.all(7), await built.services.reports.own("ada", 7)):
        assert "written by a newer version" in say(told.text) and told.table is None
    assert (await built.services.reports.own("ada", 7)).private
    await built.close()


Told = Callable[[Chat], App]


@pytest.fixture
def told(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock, tmp_path: Path
) -> Told:
    """Bots whose admins read in a channel of a chat."""
    changed = {"admin_channel": "test:admins", "database_url": SecretStr(f"sqlite:///{tmp_path}/ledger")}
    settings = settings.model_copy(update=changed)

    def told(chat: Chat) -> App:
        return wiring.build(settings, cluster, inference, chat, clock)

    return told


async def test_nobody_who_said_where_is_told_in_the_morning(bot: App, chat: Chat) -> None:
    await bot.services.reports.morning()
    assert chat.messages == {}


async def test_every_morning_admins_hear_of_it_once_whatever_is_restarted(
    told: Told, chat: Chat, cluster: SimulatedCluster, clock: Clock, ask: Ask, pass_time: PassTime, say: Say
) -> None:
    built = told(chat)
    await ask("deploy tinyllama")
    await pass_time(300)
    for _ in range(6):
        clock.advance(minutes=1)
        await built.sweep()
    before = len(chat.messages)
    await built.services.reports.morning()
    assert say(chat.last.text).startswith("Last 2 days:") and chat.last.picture
    await built.close()
    again = told(chat)
    await again.services.reports.morning()
    assert len(chat.messages) == before + 1
    while clock.now().weekday():
        clock.advance(days=1)
    await again.services.reports.morning()
    assert say(chat.last.text).startswith("Last 7 days:") and len(chat.messages) == before + 2
    await again.close()


async def test_a_report_that_no_chat_took_is_sent_when_one_does(
    told: Told, chat: Chat, clock: Clock, say: Say
) -> None:
    class Away(Chat):
        async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
            raise UserError(t("error.no_platform", platform=place.platform))

    built, back = told(Away()), told(chat)
    await built.services.reports.morning()
    await back.services.reports.morning()
    assert say(chat.last.text) == "Nothing was recorded on these days."
    for bot in (built, back):
        await bot.close()


async def test_what_a_newer_version_wrote_is_left_alone_and_no_report_is_sent_beside_it(
    told: Told, chat: Chat, cluster: SimulatedCluster
) -> None:
    newer = '{"format": 4, "reported": "2030-01-01"}'
    await cluster.save_state(newer)
    built = told(chat)
    for _ in range(2):
        await built.services.reports.morning()
    assert await cluster.load_state() == newer and chat.messages == {}
    with pytest.raises(UserError):
        await built.alerts.note_report(DAY)
    assert await cluster.load_state() == newer
    await built.close()


async def test_a_report_that_could_not_be_written_down_is_sent_once_it_can(
    told: Told, chat: Chat, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(text: str) -> None:
        raise UserError(t("error.api_away"))

    built = told(chat)
    with monkeypatch.context() as broken:
        broken.setattr(cluster, "save_state", away)
        await built.services.reports.morning()
    assert chat.messages == {}
    for _ in range(2):
        await built.services.reports.morning()
    assert len(chat.messages) == 1
    await built.close()


async def test_a_day_begins_at_midnight_where_the_cluster_is(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, chat: Chat, clock: Clock
) -> None:
    settings = settings.model_copy(update={"timezone": "Asia/Tokyo"})
    built = wiring.build(settings, cluster, inference, chat, clock)
    clock.advance(hours=3.5)  # 15:30 in UTC is the next day in Tokyo
    await built.sweep()
    clock.advance(minutes=1)
    await built.sweep()
    [(day, _)] = await built.ledger.events(DAY)
    assert day == DAY + timedelta(days=1)
    told = await built.services.reports.all(1)
    assert told.picture and told.picture.name == "gpu-hours-2030-01-02.png"
    await built.close()


def test_days_without_anything_are_days_and_what_is_held_is_never_more_than_all() -> None:
    uses = [
        (DAY, GpuUse("a", "m", 7200, 3600, "ada")),
        (DAY + timedelta(days=2), GpuUse("a", "m", 3600, 0, "Ada")),
    ]
    events = [
        (DAY, UsageEvent(UsageKind.CAPACITY, "", 3600.0)),
        (DAY, UsageEvent(UsageKind.GIVEN_BACK, "m", 1800, 2)),
    ]
    found = report(uses, events, DAY, DAY + timedelta(days=2))
    assert [(day.busy, day.idle, day.free) for day in found.days] == [(1, 1, 0), (0, 0, 0), (1, 0, 0)]
    assert found.uses == [GpuUse("a", "m", 10800, 3600, "Ada")] and found.total(UsageKind.GIVEN_BACK) == (
        1800,
        2,
    )


async def test_the_ledger_adds_events_up_and_gives_them_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    await SqlLedger(url).add(
        DAY, [GpuUse("ada", "m", 60, 10, "Ada")], [UsageEvent(UsageKind.FAILED, "cuda_oom")]
    )
    await SqlLedger(url).add(
        DAY, [GpuUse("ada", "m", 5, 0, "Ada L.")], [UsageEvent(UsageKind.FAILED, "cuda_oom", 2.5, 3)]
    )
    assert await SqlLedger(url).uses(DAY) == [(DAY, GpuUse("ada", "m", 65, 10, "Ada L."))]
    assert await SqlLedger(url).events(DAY) == [(DAY, UsageEvent(UsageKind.FAILED, "cuda_oom", 2.5, 4))]
    assert await SqlLedger(url).uses(DAY + timedelta(days=1)) == []
