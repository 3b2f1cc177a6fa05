"""What chat servers deliver twice is done once."""

from bot.platforms.shared.dedup import KEPT, Dedup


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_request_is_new_once_by_any_of_its_keys() -> None:
    dedup = Dedup()
    assert dedup.is_new(["event:1", "message:1"])
    assert not dedup.is_new(["event:2", "message:1"])
    assert not dedup.is_new(["event:2"])  # known since then
    dedup.forget("event:2")
    assert dedup.is_new(["event:2"])


def test_what_is_long_ago_is_forgotten_unless_a_gap_may_be_long() -> None:
    watch = Stopwatch()
    usual, patient = Dedup(clock=watch), Dedup(seconds=float("inf"), clock=watch)
    assert usual.is_new(["a"]) and patient.is_new(["a"])
    watch.seconds = 3600
    assert usual.is_new(["a"]) and not patient.is_new(["a"])


def test_only_so_many_are_remembered() -> None:
    dedup = Dedup()
    for number in range(KEPT + 1):
        dedup.is_new([str(number)])
    assert dedup.is_new(["0"]) and not dedup.is_new([str(KEPT)])
