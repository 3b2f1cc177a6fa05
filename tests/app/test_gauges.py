"""What Prometheus gets from the bot, and that dashboard and rules ask for nothing else."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from bot.app.application import App
from bot.app.gauges import Gauges
from bot.core.counters import API_ERRORS, FIRST_REPLY
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Clock, PassTime

MONITORING = Path(__file__).parents[2] / "manifests" / "monitoring"
NAME = re.compile(r"\bllm_bot_\w+")


Scraped = Callable[[], str]


@pytest.fixture
def scraped(bot: App) -> Scraped:
    """Every sample, by its name and labels."""

    def scraped() -> str:
        registry = CollectorRegistry()
        registry.register(Gauges(bot))
        return generate_latest(REGISTRY).decode() + generate_latest(registry).decode()

    return scraped


def value(text: str, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found, f"{sample} is not in\n{text}"
    return float(found[1])


async def test_how_things_are(
    bot: App, ask: Ask, pass_time: PassTime, scraped: Scraped, clock: Clock, cluster: SimulatedCluster
) -> None:
    before = scraped()
    done = 'llm_bot_commands_total{outcome="done",platform="test",verb="deploy"}'
    count = value(before, done) if done in before else 0
    slept = 'llm_bot_scale_downs_total{reason="idle"}'
    sleeps = value(before, slept) if slept in before else 0
    await ask("deploy llama-3-8b tp=2")
    await pass_time(300)
    await bot.tick()
    text = scraped()
    assert value(text, 'llm_bot_deployments{phase="ready"}') == 1
    assert value(text, 'llm_bot_gpus{state="free"}') == 6 and value(text, 'llm_bot_gpus{state="ours"}') == 2
    assert value(text, 'llm_bot_verdicts{verdict="active"}') == 1
    assert value(text, done) == count + 1
    for _ in range(35):
        clock.advance(minutes=1)
        cluster.step()
        await bot.tick()
    assert value(scraped(), slept) == sleeps + 1
    assert value(scraped(), 'llm_bot_deployments{phase="asleep"}') == 1


async def test_dashboard_and_rules_ask_only_for_what_there_is(
    bot: App, ask: Ask, pass_time: PassTime, scraped: Scraped, clock: Clock, cluster: SimulatedCluster
) -> None:
    await ask("deploy tinyllama")
    await ask("simulate fail cuda_oom tinyllama", who="grace")
    await pass_time(300)
    await bot.alerts.look()
    FIRST_REPLY.labels("test").observe(0.1)  # what only chats and a real API server lead to
    API_ERRORS.labels("503").inc()
    known = set(NAME.findall(scraped()))
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"][0]["rules"]
    asked += [rule["expr"] for rule in rules]
    assert len(asked) > 15
    assert {name for expr in asked for name in NAME.findall(expr)} - known == set()
    every = {name for name in known if not name.endswith(("_bucket", "_sum", "_count", "_created"))}
    shown = {name for expr in asked for name in NAME.findall(expr)}
    unseen = {n for n in every if not any(s.startswith(n) for s in shown)}
    assert unseen == set()  # nothing is measured that nobody looks at
