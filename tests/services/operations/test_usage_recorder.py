"""What the ledger is told of sleeping models: only what the bot put to sleep was given back by it."""

import pytest


@pytest.fixture
def sweeps(bot, cluster, clock):
    async def sweeps(hours: float) -> None:
        for _ in range(int(hours * 60)):
            clock.advance(minutes=1)
            cluster.step()
            await bot.sweep()

    return sweeps


@pytest.mark.parametrize("by", ["a person", "the bot"])
async def test_given_back_is_what_the_bot_put_to_sleep(ask, pass_time, sweeps, say, cluster, by):
    await ask("deploy tinyllama hours=mo-fr 8-20")  # it is 13:00 in Berlin
    await pass_time(200)
    if by == "a person":
        await ask("sleep tinyllama")
    await sweeps(10)  # the office closes: the model may wake when it opens again
    assert cluster.workloads()[0].replicas == 0
    *_, told = await ask("report", who="grace")
    assert any("were given back" in say(line) for line in told.lines) is (by == "the bot")


async def test_what_is_about_to_be_removed_was_given_back_by_whom_it_was_put_to_sleep(
    ask, pass_time, sweeps, clock, cluster, say
):
    await ask("deploy tinyllama")
    await pass_time(200)
    await ask("sleep tinyllama")
    clock.advance(days=13, hours=1)
    await sweeps(0.1)
    assert cluster.workloads()[0].record.sleep_state.removal_announced_at
    *_, told = await ask("report", who="grace")
    assert not any("were given back" in say(line) for line in told.lines)
