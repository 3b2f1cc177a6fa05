"""A tick of the clock: when admins hear of a sweep, and when not."""

import asyncio

import pytest

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Chat, Clock


class Watched(SimulatedCluster):
    """Counts how often what admins were told is written down."""

    saves = 0

    async def save_state(self, text: str) -> None:
        self.saves += 1
        await super().save_state(text)


@pytest.fixture
def cluster(clock: Clock) -> Watched:
    return Watched(clock)


@pytest.fixture
def app(settings: Settings, cluster: Watched, inference: VllmInference, chat: Chat, clock: Clock) -> App:
    told = settings.model_copy(update={"admin_channel": "test:admins"})
    return wiring.build(told, cluster, inference, chat, clock)


async def test_a_sweep_that_is_cancelled_writes_nothing(
    app: App, cluster: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(app.services.activity, "sweep", slow)
    ticking = asyncio.create_task(app.tick())
    await begun.wait()
    ticking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ticking
    assert cluster.saves == 0


async def test_admins_hear_of_a_sweep_that_fails(
    app: App, cluster: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(app.services.activity, "sweep", broken)
    for _ in range(3):
        await app.tick()
    assert cluster.saves and [alert.about for alert in app.alerts.open()] == ["sample"]
