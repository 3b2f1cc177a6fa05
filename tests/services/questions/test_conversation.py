"""Which model is meant, what it is told, and what is kept when it breaks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import pytest

from bot.app.application import App
from bot.core.chat.message import Message, Place, Turn, User
from bot.core.chat.reply import Tone
from bot.core.ports import Endpoint, Piece, Sampling
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.conftest import PATIENCE, Ask, Chat, Clock, PassTime, Say, eventually, settle

OTHER = Place("test", "C2")


class Ready(Protocol):
    """Type lines like `ada: deploy tinyllama`, and wait until all models are ready."""

    async def __call__(self, *lines: str) -> None: ...


@pytest.fixture
def ready(ask: Ask, pass_time: PassTime) -> Ready:
    async def ready(*lines: str) -> None:
        for line in lines:
            who, _, command = line.partition(": ")
            await ask(command, who)
        await pass_time(300)

    return ready


async def model_of(ask: Ask, say: Say, line: str, who: str = "ada", place: Place = OTHER) -> str:
    return say((await ask(line, who, place=place))[-1].footnote).split(" · ")[0]


async def test_the_model_that_is_named_by_name_or_by_its_model(ask: Ask, ready: Ready, say: Say) -> None:
    await ready("ada: deploy tinyllama name=mine", "bob: deploy qwen3-0.6b")
    assert await model_of(ask, say, "ask MINE hello") == "mine"
    assert await model_of(ask, say, "ask tinyllama hello") == "mine"
    assert await model_of(ask, say, "ask qwen3-0.6b hello") == "qwen3-0.6b"


async def test_without_a_name_ones_own_or_the_only_one_or_the_last_one(
    ask: Ask, ready: Ready, say: Say
) -> None:
    await ready("ada: deploy tinyllama", "bob: deploy qwen3-0.6b")
    assert await model_of(ask, say, "ask hello there", "ada", Place("test", "A")) == "tinyllama"
    assert await model_of(ask, say, "ask hello there", "bob", Place("test", "B")) == "qwen3-0.6b"
    [which] = await ask("ask hello there", "eve", place=Place("test", "E"))
    assert {b.command for b in which.buttons} == {"ask tinyllama hello there", "ask qwen3-0.6b hello there"}
    await ask("ask qwen3-0.6b hello", "eve", place=Place("test", "E"))
    assert await model_of(ask, say, "ask and then?", "eve", Place("test", "E")) == "qwen3-0.6b"


async def test_nothing_to_ask(ask: Ask, ready: Ready, say: Say) -> None:
    [refusal] = await ask("ask hello there")
    assert say(refusal.text).startswith("No model is running yet.")
    [refusal] = await ask("ask llama3 hello")
    assert refusal.buttons[0].command == "deploy llama-3-8b"
    await ready("ada: deploy tinyllama")
    [refusal] = await ask("ask tinyllama")
    assert say(refusal.text) == "What do you want to ask tinyllama?"


async def test_people_are_called_by_name_not_by_id(bot: App, ready: Ready, ask: Ask, say: Say) -> None:
    await ready("ada: deploy tinyllama")
    async for _ in bot.dispatcher.handle(Message("ask hello", User("U0123", "eve"), OTHER)):
        pass
    assert say((await ask("why tinyllama"))[0].lines[1]).startswith("Last question by eve at")
    [refused] = await ask("stop tinyllama")
    assert say(refused.text) == "Somebody else used tinyllama in the last hour: eve. Stop it anyway?"


async def test_an_answer_stands_whatever_becomes_of_its_model(
    bot: App, ready: Ready, cluster: SimulatedCluster
) -> None:
    await ready("ada: deploy tinyllama")
    replies = bot.dispatcher.handle(Message("ask hello", User("ada", "ada"), OTHER))
    async for reply in replies:
        if reply.footnote and cluster.workloads():
            await cluster.remove("tinyllama")
    assert reply.answer and reply.footnote and reply.tone is not Tone.FAILED


async def test_the_conversation_goes_along_and_is_trimmed_to_the_context(
    ask: Ask, ready: Ready, chat: Chat, inference: VllmInference, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready("ada: deploy tinyllama")
    told: list[list[Turn]] = []
    answer = inference.answer

    def listening(
        endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        told.append(list(turns))
        return answer(endpoint, turns, sampling)

    monkeypatch.setattr(inference, "answer", listening)
    chat.turns = [Turn("user", "first question"), Turn("assistant", "first answer")]
    await ask('ask system="be brief" tinyllama and then?')
    assert [turn.role for turn in told[0]] == ["system", "user", "assistant", "user"]

    chat.turns = [Turn("user", "x" * 2000), Turn("assistant", "y" * 2000)] * 10
    [*_, last] = await ask('ask system="be brief" tinyllama and then?')
    assert last.question == "and then?"
    kept = told[1]
    assert kept[0].role == "system" and kept[-1].content == "and then?"
    assert 3 <= len(kept) < 22 and kept[1].role == "user"
    assert sum(len(turn.content) // 4 + 4 for turn in kept) <= 2048 * 3 // 4


@pytest.mark.parametrize("patience", [(60.0, 0.5)])
async def test_a_broken_answer_keeps_what_came_and_says_why(
    ask: Ask, ready: Ready, server: SimulatedServer, say: Say, patience: tuple[float, float]
) -> None:
    await ready("ada: deploy tinyllama")
    server.misbehave["tinyllama"] = "dies"
    last = (await ask("ask tinyllama hello"))[-1]
    assert last.answer == "I am tinyllama, or rather" and last.tone is Tone.FAILED
    assert say(last.footnote).startswith("The answer ends here: the model's server crashed")

    server.misbehave["tinyllama"] = "silent"
    last = (await ask("ask tinyllama hello"))[-1]
    assert last.answer.startswith("I am tinyllama")
    assert "went silent for too long" in say(last.footnote)


async def test_an_answer_without_a_word_is_said_to_be_none(
    ask: Ask, ready: Ready, server: SimulatedServer, say: Say
) -> None:
    await ready("ada: deploy tinyllama")  # mindcraft 789 and vLLM 52640: a model that only thinks
    server.misbehave["tinyllama"] = "wordless"
    [empty] = await ask("ask tinyllama hello")
    assert say(empty.text).startswith("tinyllama ended its answer without a word")
    [cut] = await ask("ask max-tokens=3 tinyllama hello")
    assert "before its first word" in say(cut.text) and "max-tokens" in say(cut.text)


async def test_a_model_that_cannot_chat_says_what_to_do(
    ask: Ask, ready: Ready, server: SimulatedServer, say: Say
) -> None:
    await ready("ada: deploy tinyllama")
    server.misbehave["tinyllama"] = "no-template"
    [refusal] = await ask("ask tinyllama hello")
    assert "base model without a chat template" in say(refusal.text)


async def test_a_cancelled_question_is_no_longer_in_flight(
    ask: Ask, ready: Ready, bot: App, server: SimulatedServer
) -> None:
    await ready("ada: deploy tinyllama")
    server.misbehave["tinyllama"] = "silent"
    asking = asyncio.create_task(ask("ask tinyllama hello"))
    await eventually(lambda: bot.services.activity.in_flight("tinyllama"))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert bot.services.activity.in_flight("tinyllama") == 0


async def test_a_question_in_the_queue_is_not_held_for_ever(
    ask: Ask, clock: Clock, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    for name in ("one", "two", "three"):
        await ask(f"deploy llama-3-70b quant=gptq name={name}", who="grace")
    asking = asyncio.create_task(ask("ask three hello", who="eve"))
    await settle()
    await pass_time(605)
    assert asking.done()
    assert say(asking.result()[-1].text).startswith("three is still not ready after 10 min")


async def test_a_question_that_waits_goes_on_at_the_news_alone(
    ask: Ask, ready: Ready, clock: Clock, cluster: SimulatedCluster, say: Say
) -> None:
    """Nobody who sleeps by the clock is woken here: it hears that its model is ready."""
    await ready("ada: deploy tinyllama")
    await ask("sleep tinyllama")
    asking = asyncio.create_task(ask("ask tinyllama are you awake?", who="eve"))
    await eventually(lambda: cluster.workloads()[0].replicas == 1)
    await settle()
    assert not asking.done()
    clock.time += timedelta(minutes=5)
    cluster.step()
    replies = await asyncio.wait_for(asking, PATIENCE)
    assert "are you awake?" in replies[-1].answer and "tokens/s" in say(replies[-1].footnote)


async def test_status_shows_who_works_and_since_when_nobody_does(
    ask: Ask, ready: Ready, bot: App, clock: Clock, say: Say
) -> None:
    await ready("ada: deploy tinyllama")
    clock.advance(minutes=10)
    [one] = await ask("status tinyllama")
    told = {say(name): say(value) for name, value in one.fields}
    assert told["requests"] == "0 running, 0 waiting" and told["idle"].startswith("1")
    await ask("ask tinyllama hello")
    await bot.services.activity.sweep()
    [listed] = await ask("status")
    assert listed.table and say(listed.table.rows[0][-1]) == "0 s"


async def test_a_start_is_estimated_from_the_last_ones(
    ask: Ask, ready: Ready, pass_time: PassTime, cluster: SimulatedCluster, chat: Chat, say: Say
) -> None:
    await ready("ada: deploy tinyllama")
    [workload] = cluster.workloads()
    assert [times.model_dump() for times in workload.record.start_times] == [
        {"waiting": 0, "pulling": 40, "downloading": 8.2, "loading": 41}
    ]
    await ask("sleep tinyllama")
    [waking] = await ask("wake tinyllama")
    assert say(waking.lines[1]) == "about 41 s of loading (last start)"
    await pass_time(10)
    [card] = [history[-1] for history in chat.messages.values() if "tinyllama · " in say(history[-1].text)]
    assert say(card.lines[0]) == "about 40 s left (last start: 41 s of loading)"
    [status] = await ask("status tinyllama")
    assert say(status.lines[0]) == "about 36 s left (last start: 41 s of loading)"
    await pass_time(100)
    assert len(cluster.workloads()[0].record.start_times) == 2


async def test_a_question_that_cannot_be_answered_listens_no_longer(
    ask: Ask, ready: Ready, cluster: SimulatedCluster, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready("ada: deploy tinyllama")
    cluster.fail("tinyllama", "cuda_oom")
    await pass_time(5)
    listening, changes, most = 0, cluster.changes, 0

    @contextmanager
    def counted() -> Iterator[AsyncIterator[str]]:
        nonlocal listening, most
        with changes() as names:
            listening += 1
            most = max(most, listening)
            try:
                yield names
            finally:
                listening -= 1

    monkeypatch.setattr(cluster, "changes", counted)
    for _ in range(3):
        await ask("ask tinyllama hello")
    assert (listening, most) == (0, 1)


async def test_only_so_many_questions_wait(
    ask: Ask, ready: Ready, say: Say, pass_time: PassTime, cluster: SimulatedCluster
) -> None:
    await ready("ada: deploy tinyllama")
    await ask("sleep tinyllama")
    waiting = [asyncio.create_task(ask("ask tinyllama hello", "eve")) for _ in range(4)]
    await settle()
    [refused] = [task for task in waiting if task.done()]
    assert say(refused.result()[0].text).startswith("3 of your questions are already waiting.")
    crowd = [asyncio.create_task(ask("ask tinyllama hello", f"p{number}")) for number in range(18)]
    await settle()
    [refused] = [task for task in crowd if task.done()]
    assert say(refused.result()[0].text).startswith("20 questions are already waiting for tinyllama.")
    while not all(task.done() for task in (*waiting, *crowd)):
        await pass_time(5)
    answered = [task for task in (*waiting, *crowd) if task.result()[-1].footnote]
    assert len(answered) == 20


async def test_ready_means_a_real_answer(
    ask: Ask,
    ready: Ready,
    server: SimulatedServer,
    pass_time: PassTime,
    chat: Chat,
    say: Say,
    cluster: SimulatedCluster,
    bot: App,
) -> None:
    server.misbehave["tinyllama"] = "http-500"
    await ask("deploy tinyllama")
    await pass_time(200)
    [card] = [history for history in chat.messages.values() if "tinyllama" in say(history[0].text)]
    assert cluster.workloads()[0].phase.value == "ready"
    assert not any("is ready" in say(reply.text) for reply in card)
    server.misbehave.clear()
    async with asyncio.timeout(PATIENCE):
        while "is ready" not in say(card[-1].text):
            await pass_time(1)
            await asyncio.sleep(0.02)


async def test_a_model_that_answers_nothing_but_exclamation_marks_has_failed(
    ask: Ask, server: SimulatedServer, pass_time: PassTime, chat: Chat, say: Say, cluster: SimulatedCluster
) -> None:
    server.misbehave["tinyllama"] = "garbled"
    await ask("deploy tinyllama")
    [card] = chat.messages.values()
    async with asyncio.timeout(PATIENCE):
        while card[-1].tone is not Tone.FAILED:
            await pass_time(1)
    assert "did not start: it answers nothing but “!”" in say(card[-1].text)
    assert "bitsandbytes" in say(card[-1].lines[1]) and "!!!!" in say(card[-1].lines[0])
    assert cluster.workloads()[0].record.start_times == ()


async def test_a_base_model_that_cannot_chat_is_ready(
    ask: Ask, server: SimulatedServer, pass_time: PassTime, chat: Chat, say: Say
) -> None:
    server.misbehave["tinyllama"] = "no-template"
    await ask("deploy tinyllama")
    [card] = chat.messages.values()
    async with asyncio.timeout(PATIENCE):
        while "is ready" not in say(card[-1].text):
            await pass_time(1)
