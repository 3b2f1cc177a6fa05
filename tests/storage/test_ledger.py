"""What was used, in a database: SQLite here, the same statements for PostgreSQL."""

from datetime import date, timedelta

import pytest

from bot.core.usage.records import Use
from bot.storage.ledger import Ledger

DAY = date(2030, 1, 1)


async def test_it_adds_up_by_day_owner_and_model_and_is_there_after_a_restart(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger(url)
    await ledger.add(DAY, [Use("ada", "m", 60, 10), Use("bob", "m", 30)])
    await ledger.add(DAY, [Use("ada", "m", 60), Use("ada", "n", 5)])
    await ledger.add(DAY + timedelta(days=1), [Use("bob", "m", 1)])
    assert await Ledger(url).used(DAY) == {"ada": 125, "bob": 31}
    assert await Ledger(url).used(DAY + timedelta(days=1)) == {"bob": 1}


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.sqlite", "postgresql+psycopg://u:secret@127.0.0.1:9/x"]
)
async def test_a_database_that_is_away_is_no_trouble(url, capsys):
    ledger = Ledger(url)
    await ledger.add(DAY, [Use("ada", "m", 60)])
    assert await ledger.used(DAY) == {}
    assert "secret" not in capsys.readouterr().out


async def test_the_line_goes_by_the_week_and_what_was_long_ago_is_forgotten(
    bot, ask, pass_time, clock, cluster
):
    await ask("deploy llama-3-8b tp=2", who="ada")
    await pass_time(300)
    for _ in range(60):
        clock.advance(minutes=1)
        cluster.step()
        await bot.idle_sweep.run()
    used = bot.gpu_queue.used
    assert 2 * 25 * 60 <= used["ada"] <= 2 * 60 * 60  # it slept after half an hour
    clock.advance(days=9)
    await ask("deploy tinyllama", who="bob")
    await pass_time(300)
    for _ in range(2):
        clock.advance(minutes=1)
        await bot.idle_sweep.run()
    assert set(bot.gpu_queue.used) == {"bob"}
