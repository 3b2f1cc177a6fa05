"""What every platform must do, typed and pressed by a person in each of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
import pytest_asyncio

from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock
from tests.contract.chats import PLACES, Person

HURRY = 0.002
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class Visit(Protocol):
    """Somebody comes, and is a person from then on."""

    async def __call__(self, name: str, locale: str = "en-GB") -> Person: ...


@pytest_asyncio.fixture(params=PLACES)
async def visit(
    request: pytest.FixtureRequest,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Visit]:
    """`await visit("ada")` is a person; simulated time flies."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    people: list[Person] = []

    async def visit(name: str, locale: str = "en-GB") -> Person:
        person = PLACES[request.param](name, locale)
        await person.come(settings, cluster, inference, clock)
        people.append(person)
        return person

    async def life() -> None:
        while True:
            clock.advance(seconds=1)
            cluster.step()
            await asyncio.sleep(HURRY)

    living = asyncio.create_task(life())
    yield visit
    for person in people:
        await person.leave()
    living.cancel()


async def test_a_deployment_becomes_ready_and_its_buttons_work(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("deploy tinyllama")
    await ada.reads("tinyllama is ready")
    await ada.press("Logs")
    await ada.reads("Starting vLLM API server")
    await ada.press("Stop")
    await ada.reads("tinyllama is stopped.")


async def test_a_slip_is_one_press_from_what_was_meant(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("depoly tinyllama")
    await ada.reads("There is no “depoly”.")
    await ada.press("/llm deploy tinyllama")
    await ada.reads("tinyllama is ready")


async def test_what_does_not_fit_comes_with_what_does(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("deploy llama-3-8b tp=1")
    await ada.reads("does not fit on one V100 (16 GB): weights alone are 15.0 of 14.2 usable GiB.")
    await ada.press("tp=2")
    await ada.reads("llama-3-8b is ready")


async def test_a_question_is_answered_and_its_costs_told(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("deploy tinyllama")
    await ada.reads("tinyllama is ready")
    await ada.type("ask tinyllama what is a lease?")
    await ada.reads("You asked: “what is a lease?”")
    await ada.reads("tokens/s")


async def test_a_question_to_a_sleeping_model_wakes_it(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("deploy tinyllama")
    await ada.reads("tinyllama is ready")
    await ada.press("Sleep")
    await ada.reads("tinyllama sleeps")
    await ada.type("ask tinyllama are you awake?")
    await ada.reads("You asked: “are you awake?”")


async def test_tables_have_all_their_cells(visit: Visit) -> None:
    ada = await visit("ada")
    await ada.type("gpus")
    for cell in ("8 of 8 GPUs are free", "icc-gpu-1", "icc-gpu-2"):
        await ada.reads(cell)


async def test_each_person_is_answered_in_their_language(visit: Visit) -> None:
    bob = await visit("bob", "de-DE")
    await bob.type("depoly tinyllama")
    await bob.reads("„depoly“ gibt es nicht.")


async def test_a_student_is_told_what_a_student_may(visit: Visit) -> None:
    eve = await visit("eve")
    await eve.type("deploy llama-3-70b quant=gptq tp=4")
    await eve.reads("tp=4 is too large: the student limit is tp=2.")


async def test_nonsense_of_any_size_gets_a_sentence_and_hurts_nobody(visit: Visit) -> None:
    ada = await visit("ada")
    for nonsense in ("\x1b[31m\x07", "=" * 5000, "deploy " + "x=y " * 500, '"', "deploy tinyllama tp=\udcff"):
        await ada.type(nonsense.encode(errors="replace").decode())
    await ada.type("gpus")
    await ada.reads("8 of 8 GPUs are free")
    assert "Traceback" not in ada.sees()


async def test_admins_hear_of_a_failure_take_care_of_it_and_see_it_resolved(visit: Visit) -> None:
    grace = await visit("grace")
    await grace.type("deploy tinyllama")
    await grace.reads("tinyllama is ready")
    await grace.type("simulate fail cuda_oom tinyllama")
    await grace.reads("#1 tinyllama")
    await grace.press("Acknowledge")
    await grace.reads("taken care of by grace")
    await grace.type("scale tinyllama tp=2")
    await grace.reads("resolved")
