"""The text of what admins were told: today's format, the one before, and those that come after."""

import json
from pathlib import Path

import pytest

from bot.core.alerts.state import AlertState
from bot.core.alerts.stored import CURRENT, NewerState, read_state, write_state

V1 = json.loads((Path(__file__).parents[2] / "fixtures" / "v1" / "alerts.json").read_text())


def test_what_0_1_0_wrote_is_read_and_written_in_todays_format() -> None:
    state = read_state(V1["object"]["data"]["state"])
    assert state == AlertState.model_validate(V1["state"])
    assert len(state.alerts) == 13 and len({alert.kind for alert in state.alerts.values()}) == 13
    text = write_state(state)
    assert json.loads(text)["format"] == CURRENT and read_state(text) == state


def test_nothing_was_told_yet() -> None:
    assert read_state("") == read_state(write_state(AlertState())) == AlertState()


def test_a_newer_format_is_left_alone() -> None:
    with pytest.raises(NewerState, match="format 4"):
        read_state('{"format": 4, "number": "seven"}')


@pytest.mark.parametrize(
    "text", ["{broken", "[]", '"text"', '{"format": "2"}', '{"format": 0}', '{"number": "seven"}']
)
def test_what_nobody_can_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        read_state(text)
