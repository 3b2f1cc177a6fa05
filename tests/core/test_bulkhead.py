"""What is done about one model fails by itself: it is logged once, counted, known, and tried again later."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bot.core.bulkhead import OFTEN, Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.text import t


def fail(bulkhead: Bulkhead, work: WorkKind, about: str = "", error: Exception | None = None) -> None:
    with bulkhead.isolated(work, about):
        raise error or KeyError("a bug")


def counted(work: WorkKind) -> float:
    return REGISTRY.get_sample_value("llm_bot_failures_total", {"work": work.value}) or 0.0


def test_what_fails_often_enough_in_a_row_is_told_with_its_kind() -> None:
    bulkhead = Bulkhead()
    for _ in range(OFTEN - 1):
        fail(bulkhead, WorkKind.CARD, "a")
    assert bulkhead.lasting() == {}
    fail(bulkhead, WorkKind.CARD, "b")
    fail(bulkhead, WorkKind.CARD, "a")
    assert bulkhead.lasting() == {"a": "card (KeyError)"}
    for _ in range(OFTEN):
        fail(bulkhead, WorkKind.START, "a", ValueError("too"))
        fail(bulkhead, WorkKind.QUEUE)
    assert bulkhead.lasting() == {"a": "card (KeyError), start (ValueError)", "queue": "queue (KeyError)"}


def test_one_success_of_the_same_work_is_the_end_of_a_row() -> None:
    bulkhead = Bulkhead()
    for _ in range(OFTEN):
        fail(bulkhead, WorkKind.CARD, "a")
        fail(bulkhead, WorkKind.CARD, "b")
    for work, about in ((WorkKind.CARD, "a"), (WorkKind.START, "b"), (WorkKind.CARD, "never failed")):
        with bulkhead.isolated(work, about):
            assert "a" not in bulkhead.lasting() or about == "a"  # until it is through
    assert list(bulkhead.lasting()) == ["b"]


def test_what_is_gone_is_forgotten_and_all_else_is_not() -> None:
    bulkhead = Bulkhead()
    for _ in range(OFTEN):
        for about in ("gone", "there", ""):
            fail(bulkhead, WorkKind.SWEEP, about)
    bulkhead.forget_all_but(["there", "never failed"])
    assert list(bulkhead.lasting()) == ["there", "sweep"]


def test_pauses_grow_until_it_goes_well() -> None:
    bulkhead, pauses = Bulkhead(first_pause=1.0, longest_pause=4.0), []
    for _ in range(5):
        fail(bulkhead, WorkKind.CARD, "a")
        pauses.append(round(bulkhead.pause("a", WorkKind.CARD, WorkKind.START)))
    assert pauses[0] == 1 and pauses[1] == 2 and all(3 <= pause <= 5 for pause in pauses[2:])
    assert bulkhead.pause("a", WorkKind.START) == bulkhead.pause("b", WorkKind.CARD) == 0
    with bulkhead.isolated(WorkKind.CARD, "a"):
        pass
    assert bulkhead.pause("a", WorkKind.CARD) == 0


def test_it_is_logged_once_and_counted_each_time() -> None:
    bulkhead, before = Bulkhead(), counted(WorkKind.WEB_UI)
    with capture_logs() as logs:
        for _ in range(10):
            fail(bulkhead, WorkKind.WEB_UI)
        fail(bulkhead, WorkKind.WEB_UI, error=UserError(t("error.api_away")))
    assert [entry["event"] for entry in logs] == ["work.failed", "work.postponed"]
    assert isinstance(logs[0]["exc_info"], KeyError) and logs[0]["work"] == "web-ui"
    assert counted(WorkKind.WEB_UI) - before == 11


def test_an_interrupt_is_no_failure() -> None:
    bulkhead = Bulkhead()
    with pytest.raises(KeyboardInterrupt), bulkhead.isolated(WorkKind.CARD, "a"):
        raise KeyboardInterrupt
    assert bulkhead.pause("a", WorkKind.CARD) == 0
