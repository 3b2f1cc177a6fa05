"""Annotations of a Deployment: today's format, and the one before that had none."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bot.cluster import annotations_v1, web_ui
from bot.cluster.annotations import (
    CURRENT,
    FORMAT,
    NAMES,
    NewerFormat,
    read_record,
    record_patch,
    to_annotations,
)
from bot.cluster.manifests import WorkloadSettings
from bot.core.deployment.record import Record, RecordChanges
from tests.records import EMPTY, FULL, NOW, PLAIN

FIXTURES = Path(__file__).parent.parent / "fixtures" / "v1" / "deployments.json"
V1: list[dict[str, Any]] = json.loads(FIXTURES.read_text())


def metadata(annotations: dict[str, str]) -> dict[str, Any]:
    return {"name": "llm-x", "resourceVersion": "7", "annotations": annotations}


def patched(found: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """As the API server merges it."""
    merged = found["annotations"] | patch["annotations"]
    return metadata({name: text for name, text in merged.items() if text is not None})


def test_every_field_has_a_name_of_its_own_and_can_be_changed() -> None:
    assert NAMES.keys() == Record.model_fields.keys() == RecordChanges.__annotations__.keys()
    assert len(set(NAMES.values())) == len(NAMES)
    assert EMPTY.keys() | {"owner", "owner_name", "role", "start_requested_at"} == NAMES.keys()


def test_a_record_is_read_as_it_was_written() -> None:
    written = to_annotations(FULL)
    assert written[FORMAT] == CURRENT and written[NAMES["role"]] == "admin"
    assert written.keys() == {FORMAT, *NAMES.values()}  # a field that the test leaves empty proves nothing
    assert read_record(metadata(written)) == FULL


def test_a_change_writes_only_what_it_names_and_an_empty_field_is_removed() -> None:
    full = metadata(to_annotations(FULL))
    patch = record_patch(full, urgent=False, warned_at=NOW + timedelta(hours=1))
    assert patch == {"annotations": {"llm-bot/urgent": None, "llm-bot/warned-at": "2030-01-01T13:00:00Z"}}
    emptied = patched(full, record_patch(full, **EMPTY))
    assert read_record(emptied) == PLAIN


def test_a_misspelt_field_and_a_wrong_value_are_refused() -> None:
    full = metadata(to_annotations(FULL))
    with pytest.raises(ValidationError):
        record_patch(full, warned=NOW)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        FULL.changed(warnd_at=NOW)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        FULL.changed(warned_at="soon")  # type: ignore[arg-type]


END = {"number": 1, "run": "uid/0", "at": "2030-01-01T12:00:00Z", "cause": "crashed"}
START = {"waiting": 1, "pulling": 1, "downloading": 0, "loading": 10}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("start-requested-at", "2030-01-01T12:00:00"),
        ("ready-at", "0001-01-01T00:00:00Z"),
        ("lease-ends-at", "9999-12-31T23:59:59Z"),
        ("idle-window", "P999999999D"),
        ("start-times", json.dumps([START | {"loading": float("inf")}])),
        ("start-times", json.dumps([START | {"waiting": -1}])),
        ("last-end", json.dumps(END | {"at": "2030-01-01T12:00:00"})),
        ("last-end", json.dumps(END | {"number": 10**30})),
        ("last-end", json.dumps(END | {"run": "uid"})),
        ("last-uses", json.dumps({"ada": {"who": "Ada", "at": "2030-01-01T12:00:00"}})),
        ("sleep-state", json.dumps({"reason": "idle", "slept_at": "2030-01-01T12:00:00"})),
    ],
)
def test_what_nobody_can_reckon_with_is_unreadable(name: str, text: str) -> None:
    """Each of these once ended the updates of all cards, or the view of all workloads."""
    found = to_annotations(PLAIN) | {f"llm-bot/{name}": text}
    with pytest.raises(ValidationError):
        read_record(metadata(found))


@pytest.mark.parametrize("case", V1, ids=[case["about"] for case in V1])
def test_what_0_1_0_wrote_is_read(case: dict[str, Any]) -> None:
    """But for how it sleeps, every field is what that version read, under another name."""
    record, before = read_record(case["object"]["metadata"]), case["record"]
    now = record.model_dump(mode="json")
    leaving = before["slept"] == "leaving"
    for old, new in annotations_v1.RENAMED.items():
        name = old.replace("-", "_")
        if name == "warned" and leaving:
            assert record.sleep_state and record.sleep_state.removal_announced_at
            assert record.warned_at is None
        else:
            assert now[new] == before[name], name


@pytest.mark.parametrize("broken", ["[]", "null", '"x"', "3", "{"])
def test_what_0_1_0_never_wrote_is_an_error(broken: str) -> None:
    [case] = [case for case in V1 if case["spec"]["name"] == "leaving-idle"]
    annotations = case["object"]["metadata"]["annotations"] | {"llm-bot/sleep": broken}
    with pytest.raises(ValueError):
        read_record(metadata(annotations))


SLEEPS = {
    "asleep-person": ("person", True, False),
    "asleep-person-hours": ("person", True, False),
    "asleep-idle-untold": ("idle", False, False),
    "asleep-idle-hours-untold": ("office_hours", False, False),
    "asleep-idle-told": ("idle", True, False),
    "asleep-lease-untold": ("lease", False, False),
    "asleep-lease-told": ("lease", True, False),
    "asleep-failed-untold": ("failed", False, False),
    "asleep-failed-told": ("failed", True, False),
    "asleep-unknown-settled": ("unknown", True, False),
    "leaving-idle": ("idle", True, True),
    "leaving-person": ("person", True, True),
}


@pytest.mark.parametrize("name", SLEEPS)
def test_why_and_how_far_a_model_slept_is_read_from_what_0_1_0_wrote(name: str) -> None:
    [case] = [case for case in V1 if case["spec"]["name"] == name]
    state = read_record(case["object"]["metadata"]).sleep_state
    assert state
    assert (state.reason, state.told, state.removal_announced_at is not None) == SLEEPS[name]
    assert state.office_closed is (name == "asleep-person-hours")


@pytest.mark.parametrize("case", V1, ids=[case["about"] for case in V1])
def test_the_first_change_writes_it_in_todays_format(case: dict[str, Any]) -> None:
    found = case["object"]["metadata"]
    patch = record_patch(found, announced_news="something new")
    assert patch["resourceVersion"] == found["resourceVersion"]  # not over what somebody changed meanwhile
    after = patched(found, patch)
    assert after["annotations"][FORMAT] == CURRENT
    assert not set(annotations_v1.NAMES) - set(NAMES.values()) & after["annotations"].keys()
    assert read_record(after) == read_record(found).changed(announced_news="something new")
    assert "resourceVersion" not in record_patch(after, urgent=True)


def test_a_newer_format_is_neither_read_nor_changed() -> None:
    newer = metadata(to_annotations(FULL) | {FORMAT: "3"})
    with pytest.raises(NewerFormat):
        read_record(newer)
    with pytest.raises(NewerFormat):
        record_patch(newer, urgent=True)


def test_0_1_0_finds_todays_annotations_unreadable_and_so_leaves_them_alone() -> None:
    with pytest.raises(ValidationError):
        Record.model_validate(annotations_v1.read(to_annotations(FULL)))


def test_open_webui_is_read_as_0_1_0_wrote_it() -> None:
    case = json.loads((FIXTURES.parent / "open-webui.json").read_text())
    found = web_ui.read_web_ui(case["object"], WorkloadSettings())
    assert [*found.connected] == [*case["connected"]] and found.owner == case["owner"]
