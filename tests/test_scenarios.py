"""Whole stories, told in chat."""

import asyncio
from itertools import pairwise

import pytest

from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.reply import Tone
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Phase
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Chat, Clock, PassTime, Say, eventually, settle


async def started(ask: Ask, pass_time: PassTime, line: str, who: str = "ada") -> None:
    await ask(line, who)
    await pass_time(400)


async def test_a_model_is_deployed_asked_put_to_sleep_woken_and_stopped(
    ask: Ask, chat: Chat, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    [card] = await ask("deploy llama-3-8b")
    assert say(card.text) == "llama-3-8b · fp16 · 2 × V100 (tp 2, the smallest that fits) · 8k context"
    assert card.live

    await pass_time(400)
    shown = [say(reply.text) for reply in chat.messages["m1"]]
    assert "llama-3-8b · pulling the image · on icc-gpu-1" in shown
    assert any(text.startswith("llama-3-8b · loading: shard 2 of 3") for text in shown)
    assert shown[-1].startswith("llama-3-8b is ready · 2 min")
    assert not chat.messages["m1"][-1].live

    replies = await ask("ask what is PagedAttention?")
    assert "what is PagedAttention?" in replies[-1].answer
    assert all(later.answer.startswith(sooner.answer) for sooner, later in pairwise(replies))
    assert say(replies[-1].footnote).startswith("llama-3-8b · 6")

    [asleep] = await ask("sleep llama-3-8b")
    assert asleep.tone is Tone.ASLEEP and cluster.nodes()[0].free == 4

    await ask("wake llama-3-8b", who="eve")
    await pass_time(400)
    assert cluster.workloads()[0].phase is Phase.READY

    await ask("stop llama-3-8b --sure")
    assert cluster.workloads() == []


async def test_the_question_asked_while_asleep_is_answered_in_the_same_message(
    ask: Ask, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy tinyllama")
    await ask("sleep tinyllama")

    asking = asyncio.create_task(ask("ask tinyllama are you awake?", who="eve"))
    await settle()
    await pass_time(200)
    await eventually(asking.done)
    replies = asking.result()

    assert replies[0].text is not None and "your question" in say(replies[0].lines[-1])
    assert "are you awake?" in replies[-1].answer


async def test_what_does_not_fit_is_refused_with_what_does(
    ask: Ask, cluster: SimulatedCluster, say: Say
) -> None:
    [refusal] = await ask("deploy llama-3-8b tp=1")
    assert say(refusal.text) == (
        "llama-3-8b does not fit on one V100 (16 GB): weights alone are 15.0 of 14.2 usable GiB."
    )
    commands = [button.command for button in refusal.buttons]
    assert commands[:2] == ["deploy llama-3-8b tp=2", "deploy llama-3-8b tp=1 quant=gptq"]

    [refusal] = await ask("deploy qwen2.5-7b quant=awq")
    assert "AWQ does not run on a V100" in say(refusal.text)
    assert refusal.buttons[0].command == "deploy qwen2.5-7b tp=1 quant=gptq"
    assert cluster.workloads() == []


async def test_a_name_that_cannot_be_given_is_refused_before_anything_is_offered_with_it(ask: Ask) -> None:
    [refused] = await ask("deploy llama-3-8b tp=1 name=bot")
    assert refused.text and refused.text.key == "deploy.bad_name" and not refused.buttons


async def test_every_alternative_that_is_offered_works(
    ask: Ask, bot: App, cluster: SimulatedCluster, say: Say
) -> None:
    for line in ("llama-3-8b tp=1", "qwen2.5-7b quant=awq", "gemma", "llama-3-70b", "phi-4 tp=4"):
        [refusal] = await ask(f"deploy {line}")
        assert refusal.tone is Tone.FAILED and refusal.buttons, line
        for button in refusal.buttons:
            [card] = await ask(button.command, who="grace")
            assert card.tone is Tone.LOADING, (button.command, say(card.text))
            await ask(f"stop {cluster.workloads()[-1].name} --sure", who="grace")


async def test_three_of_four_gpus_each_and_the_third_waits_then_starts(
    ask: Ask, chat: Chat, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    for name in ("one", "two", "three"):
        await ask(f"deploy llama-3-70b quant=gptq name={name}", who="grace")
    await pass_time(3)
    assert (
        say(chat.last.text)
        == "three is waiting for 4 free GPUs on one node. It starts by itself. Place 1 of 1."
    )

    await ask("stop one", who="grace")
    await pass_time(500)
    assert {w.name: w.phase for w in cluster.workloads()}["three"] is Phase.READY


async def test_only_the_owner_or_an_admin_may_stop(ask: Ask, cluster: SimulatedCluster, say: Say) -> None:
    await ask("deploy tinyllama")
    for line in ("stop tinyllama", "sleep tinyllama", "scale tinyllama replicas=2", "logs tinyllama"):
        [refusal] = await ask(line, who="eve")
        assert "belongs to ada" in say(refusal.text) and refusal.private, line
        assert say(refusal.lines[0]) == "Who can do this: grace"
    await ask("stop tinyllama", who="grace")
    assert cluster.workloads() == []


async def test_stopping_what_others_use_asks_first(
    ask: Ask, cluster: SimulatedCluster, clock: Clock, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy tinyllama")
    await ask("ask tinyllama hello", who="eve")
    await settle()

    [question] = await ask("stop tinyllama")
    assert say(question.text) == "Somebody else used tinyllama in the last hour: eve. Stop it anyway?"
    assert len(cluster.workloads()) == 1

    [done] = await ask(question.buttons[0].command)
    assert done.tone is Tone.ASLEEP and cluster.workloads() == []


async def test_use_an_hour_ago_is_forgotten(
    ask: Ask, cluster: SimulatedCluster, clock: Clock, pass_time: PassTime
) -> None:
    await started(ask, pass_time, "deploy tinyllama")
    await ask("ask tinyllama hello", who="eve")
    clock.advance(hours=1, seconds=1)
    await ask("stop tinyllama")
    assert cluster.workloads() == []


async def test_what_sleeps_is_not_kept_awake(
    ask: Ask, say: Say, pass_time: PassTime, cluster: SimulatedCluster
) -> None:
    await started(ask, pass_time, "deploy tinyllama")
    await ask("sleep tinyllama")
    await pass_time(60)
    before = cluster.workloads()[0].record
    [refusal] = await ask("keep tinyllama 2h")
    assert say(refusal.text) == "tinyllama is asleep; there is nothing to keep awake."
    assert [button.command for button in refusal.buttons] == ["wake tinyllama"]
    assert cluster.workloads()[0].record == before


async def test_a_limit_of_gpus_counts_a_model_and_those_beside_it(
    ask: Ask, say: Say, pass_time: PassTime
) -> None:
    await started(ask, pass_time, "deploy tinyllama", who="eve")
    [refusal] = await ask("scale tinyllama replicas=3", who="eve")
    assert say(refusal.text) == "Too many GPUs: the student limit is 2, and this would make 3."
    await started(ask, pass_time, "deploy tinyllama name=other", who="eve")
    [refusal] = await ask("scale tinyllama replicas=3", who="eve")
    assert say(refusal.text) == (
        "Too many GPUs: the student limit is 2, and this would make 4: 3 here, 1 in your other deployments."
    )
    assert "1 in deinen anderen Deployments" in say(refusal.text, "de")


async def test_only_what_runs_can_be_made_to_fail(ask: Ask, say: Say, pass_time: PassTime) -> None:
    await started(ask, pass_time, "deploy tinyllama")
    await ask("sleep tinyllama")
    [refusal] = await ask("simulate fail cuda_oom tinyllama", who="grace")
    assert refusal.tone is Tone.FAILED
    assert say(refusal.text) == "tinyllama is asleep and cannot fail now."
    assert [button.command for button in refusal.buttons] == ["wake tinyllama"]
    for name in ("one", "two", "three"):
        await ask(f"deploy qwen2.5-7b tp=4 name={name}", who="grace")
    [refusal] = await ask("simulate fail cuda_oom three", who="grace")
    assert say(refusal.text) == "three waits for GPUs and cannot fail yet."


async def test_a_limit_is_said_as_people_type_it(ask: Ask, say: Say) -> None:
    for typed, says in (("0.98", "util must be at most 0.97."), ("0.1", "util must be at least 0.3.")):
        [refusal] = await ask(f"plan tinyllama util={typed}")
        assert say(refusal.text) == says
    assert say(refusal.text, "de") == "util muss mindestens 0.3 sein."


@pytest.mark.parametrize(
    ("line", "who", "says"),
    [
        ("deploy llama-3-70b quant=gptq", "eve", "tp=4 is too large: the student limit is tp=2."),
        (
            "deploy tinyllama replicas=3",
            "eve",
            "Too many GPUs: the student limit is 2, and this would make 3.",
        ),
        ("deploy tinyllama ttl=2d", "eve", "2 d is too long: the student limit is 12 h at a time."),
        (
            "deploy some/model shape=22/2048/32/4/64/5632/32000",
            "eve",
            "This needs researcher rights.",
        ),
    ],
)
async def test_quotas_are_by_role_and_say_who_can(
    ask: Ask, cluster: SimulatedCluster, say: Say, line: str, who: str, says: str
) -> None:
    [refusal] = await ask(line, who)
    assert say(refusal.text) == says
    assert say(refusal.lines[0]).partition(": ")[2] == "ada, bob, grace"
    assert cluster.workloads() == []
    [card] = await ask(line, who="grace")
    assert card.tone is Tone.LOADING


async def test_two_deployments_of_a_student_and_no_more(
    ask: Ask, cluster: SimulatedCluster, say: Say
) -> None:
    await ask("deploy tinyllama", who="eve")
    await ask("deploy qwen3-0.6b", who="eve")
    [refusal] = await ask("deploy qwen3-1.7b", who="eve")
    assert say(refusal.text).startswith("Too many deployments: you have 2; the student limit is 2.")


async def test_two_people_deploy_the_same_name_at_once(ask: Ask, cluster: SimulatedCluster, say: Say) -> None:
    both = await asyncio.gather(ask("deploy tinyllama"), ask("deploy tinyllama", who="bob"))
    texts = [say(replies[-1].text) for replies in both]
    assert sum("Somebody else deployed" in t or "already exists" in t for t in texts) == 1
    assert len(cluster.workloads()) == 1


async def test_a_lease_ends_in_sleep_and_says_so(
    ask: Ask, bot: App, chat: Chat, cluster: SimulatedCluster, clock: Clock, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy tinyllama ttl=1h")
    clock.advance(hours=1)
    await bot.sweep()
    [workload] = cluster.workloads()
    assert workload.phase is Phase.ASLEEP and workload.record.lease_over(clock.now())
    assert say(chat.last.text).startswith("tinyllama sleeps and gives its GPU back. Its lease has ended.")

    before = len(chat.messages)
    await bot.sweep()
    assert len(chat.messages) == before


async def test_scale_replicas_keeps_answering_and_tp_reloads(
    ask: Ask, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy llama-3-8b")
    await ask("scale llama-3-8b replicas=2")
    assert cluster.workloads()[0].phase is Phase.READY and cluster.workloads()[0].gpus_held == 4

    [card] = await ask("scale llama-3-8b replicas=1 tp=4")
    assert "reloads" in say(card.lines[0])
    await settle()
    assert cluster.workloads()[0].phase is not Phase.READY
    await pass_time(400)
    assert cluster.workloads()[0].spec.tensor_parallel_size == 4


async def test_a_crash_is_told_with_its_last_line(
    ask: Ask, chat: Chat, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy tinyllama name=fail-tiny")
    assert (
        say(chat.messages["m1"][-1].text)
        == "fail-tiny did not start: a GPU ran out of memory while the model was starting"
    )
    assert "CUDA out of memory" in say(chat.messages["m1"][-1].lines[0])
    [refusal] = await ask("ask fail-tiny hello")
    assert "It cannot answer" in say(refusal.text)


async def test_a_restarted_bot_repeats_nothing_and_goes_on_with_a_card(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    bot: App,
    pass_time: PassTime,
    say: Say,
) -> None:
    from bot.app import wiring

    await started(ask, pass_time, "deploy tinyllama")
    await ask("deploy qwen3-0.6b")
    told = len(chat.messages["m1"])

    again = wiring.build(settings, cluster, inference, chat, clock)
    watching = asyncio.create_task(again.services.card_updater.run())
    await settle()
    await pass_time(200)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

    assert len(chat.messages["m1"]) == told
    assert say(chat.messages["m2"][-1].text).startswith("qwen3-0.6b is ready")


async def test_a_bug_is_one_calm_sentence_and_the_bot_lives_on(
    ask: Ask, bot: App, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(cluster, "nodes", broken)
    [reply] = await ask("gpus")
    assert "Something broke on my side" in say(reply.text) and "secret" not in say(reply.text)
    [reply] = await ask("whoami")
    assert say(reply.text) == "ada (ada)"


async def test_home_offers_a_person_only_what_that_person_may_start(ask: Ask, say: Say) -> None:
    [for_admin], [for_student] = await ask("home", who="grace"), await ask("home", who="eve")
    assert for_admin.footnote and "llama-3-70b" in say(for_admin.footnote)
    assert for_student.footnote and "llama-3-8b" in say(for_student.footnote)
    assert "70b" not in say(for_student.footnote)
    await ask("deploy tinyllama", who="eve")
    await ask("deploy qwen3-0.6b", who="eve")
    [at_the_limit] = await ask("home", who="eve")
    assert at_the_limit.footnote and say(at_the_limit.footnote).startswith("You hold as much as you may")


async def test_what_no_node_can_take_is_refused_in_numbers_and_a_cache_of_one_node_is_said(
    ask: Ask, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    async def on_one_node() -> bool:
        return True

    monkeypatch.setattr(cluster, "cache_on_one_node", on_one_node)
    [reply, *_] = await ask("deploy tinyllama")
    assert any("on one node at a time" in say(line) for line in reply.lines)
    short = Shortage(resource="cpu", asked=8, left=2, node="icc-gpu-1")
    monkeypatch.setattr(cluster, "lacks", lambda spec: short)
    for line in ("deploy tinyllama name=more", "scale tinyllama tp=2"):
        [reply, *_] = await ask(line)
        assert say(reply.text).startswith("No node can ever take")
        assert say(reply.lines[0]).startswith("It asks for 8.0 CPUs") and "2.0" in say(reply.lines[0])


async def test_gpus_says_what_a_model_does_that_is_not_ready(ask: Ask, pass_time: PassTime, say: Say) -> None:
    async def used() -> set[str]:
        [reply] = await ask("gpus")
        return {say(row[-1]) for row in reply.table.rows} if reply.table else set()

    await ask("deploy tinyllama")
    assert any(row.startswith("1 × tinyllama (ada, ") for row in await used())
    await pass_time(600)
    assert await used() == {"1 × tinyllama (ada)", "–"}


async def test_open_webui_follows_the_models(ask: Ask, bot: App, cluster: SimulatedCluster, say: Say) -> None:
    following = asyncio.create_task(bot.services.web_ui.run())
    await settle()
    [reply] = await ask("webui")
    assert "no model is deployed yet" in say(reply.lines[0])
    await ask("deploy tinyllama")
    await settle()
    connected = cluster.web_ui()
    assert connected and connected.connected == ("tinyllama",)
    [refusal] = await ask("webui stop", who="eve")
    assert "belongs to ada" in say(refusal.text)
    await ask("webui stop")
    assert cluster.web_ui() is None
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_failure_names_its_cause_and_the_button_mends_it(
    ask: Ask, chat: Chat, cluster: SimulatedCluster, pass_time: PassTime, say: Say
) -> None:
    await started(ask, pass_time, "deploy tinyllama name=fail-1")
    card = chat.messages["m1"][-1]
    assert card.tone is Tone.FAILED
    assert say(card.text) == "fail-1 did not start: a GPU ran out of memory while the model was starting"
    assert "CUDA out of memory" in say(card.lines[0]) and "start it on more GPUs" in say(card.lines[1])
    [status] = await ask("status fail-1")
    assert "a GPU ran out of memory" in " ".join(say(value) for _, value in status.fields)
    fix = card.buttons[0]
    assert fix.command == "scale fail-1 tp=2" and fix.about == cluster.workloads()[0].identity
    [again] = await ask(fix.command)
    assert again.tone is Tone.LOADING and cluster.workloads()[0].spec.tensor_parallel_size == 2
    [shorter] = await ask("scale fail-1 max-len=1k")
    assert shorter.tone is Tone.LOADING and cluster.workloads()[0].spec.max_model_len == 1024
