"""What sweeps could not do is counted in a row, and told when it lasts."""

import pytest

from bot.services.idle.sweep_failures import OFTEN, SweepFailures


def test_what_fails_often_enough_in_a_row_lasts() -> None:
    failures = SweepFailures()
    for _ in range(OFTEN - 1):
        failures.failed("a")
    assert failures.lasting() == []
    failures.failed("b")
    failures.failed("a")
    assert failures.lasting() == ["a"]


def test_one_success_is_the_end_of_a_row() -> None:
    failures = SweepFailures()
    for _ in range(OFTEN):
        failures.failed("a")
        failures.failed("b")
    failures.succeeded("a")
    assert failures.lasting() == ["b"]
    failures.failed("a")
    assert failures.lasting() == ["b"]


def test_what_never_failed_may_succeed() -> None:
    failures = SweepFailures()
    failures.succeeded("a")
    assert failures.lasting() == []


def test_what_is_gone_is_forgotten_and_all_else_is_not() -> None:
    failures = SweepFailures()
    for _ in range(OFTEN):
        failures.failed("gone")
        failures.failed("there")
    failures.forget_all_but(["there", "never failed"])
    assert failures.lasting() == ["there"]
    failures.failed("gone")
    assert failures.lasting() == ["there"]


def test_a_block_counts_unless_it_comes_to_its_end() -> None:
    failures = SweepFailures()
    for _ in range(OFTEN):
        with pytest.raises(KeyError), failures.counting("a"):
            raise KeyError
    assert failures.lasting() == ["a"]
    with failures.counting("a"):
        assert failures.lasting() == ["a"]  # until it is through
    assert failures.lasting() == []
