"""How long the stages of a start took, by what real kubelets said of pods."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.cluster.pod_events import PodEvent, pull_seconds, reduce_event
from bot.cluster.stages import first_stages, start_stages
from bot.core.deployment.start_times import Stages
from tests.cluster.objects import Json, container, pod

SEQUENCES = Path(__file__).parents[1] / "fixtures" / "kubelet" / "sequences"


def first_ready(name: str) -> tuple[Json, list[PodEvent]]:
    """A recorded pod when it was first ready, and what had been told of it by then."""
    told: dict[str, PodEvent] = {}
    for line in (SEQUENCES / f"{name}.jsonl").read_text().splitlines():
        seen = json.loads(line)
        thing = seen["object"]
        if seen["kind"] == "Event" and (event := reduce_event(thing)):
            told[event.name] = event
        if seen["kind"] == "Pod":
            conditions = thing["status"].get("conditions", [])
            if any((c["type"], c["status"]) == ("Ready", "True") for c in conditions):
                name = thing["metadata"]["name"]
                return thing, [event for event in told.values() if event.pod == name]
    raise AssertionError("it was never ready")


@pytest.mark.parametrize(
    ("name", "waiting", "preparing", "pulling", "running"),
    [
        ("success", 0, 0, 0, 4),
        ("success-pulled", 0, 9, 8.078, 4),
        ("secret-late", 0, 17, 0, 5),
    ],
)
def test_the_stages_of_recorded_starts(
    name: str, waiting: float, preparing: float, pulling: float, running: float
) -> None:
    found, told = first_ready(name)
    seen = start_stages(found, "vllm", told)
    assert seen
    assert (seen.waiting, seen.preparing, seen.pulling, seen.running) == (
        waiting,
        preparing,
        pulling,
        running,
    )


def test_a_pull_that_was_tried_again_teaches_no_duration() -> None:
    found, told = first_ready("pull-fails-then-succeeds")
    seen = start_stages(found, "vllm", told)
    assert seen and seen.pulling is None


STARTED: Json = {
    "startTime": "2030-01-01T13:11:00Z",
    "containerStatuses": container({"running": {"startedAt": "2030-01-01T13:11:20Z"}}),
    "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2030-01-01T12:11:00Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T13:11:30Z"},
    ],
}


def test_a_node_whose_clock_is_an_hour_ahead_changes_no_duration() -> None:
    seen = start_stages(pod(minute=1, **STARTED), "vllm", [])
    assert seen == Stages(
        run="uid-llm-tiny-1/0",
        created="2030-01-01T12:01:00Z",
        waiting=600,
        preparing=20,
        pulling=None,
        running=10,
    )


def test_of_several_replicas_the_first_that_answers_counts() -> None:
    def replica(name: str, ready: str) -> Json:
        answers = {"type": "Ready", "status": "True", "lastTransitionTime": ready}
        conditions = [STARTED["conditions"][0], answers]
        return pod(name=name, minute=1, **(STARTED | {"conditions": conditions}))

    late, early = replica("late", "2030-01-01T13:12:00Z"), replica("early", "2030-01-01T13:11:30Z")
    seen = first_stages([late, early, pod(name="new")], "vllm", {})
    assert seen and (seen.run, seen.running) == ("uid-early/0", 10)
    assert first_stages([pod(name="new")], "vllm", {}) is None


@pytest.mark.parametrize(
    "without",
    [
        {"startTime": None},
        {"conditions": STARTED["conditions"][1:]},
        {"conditions": STARTED["conditions"][:1]},
        {"containerStatuses": []},
        {"containerStatuses": container({"running": {"startedAt": "2030-01-01T13:11:20Z"}}, restarts=1)},
    ],
)
def test_without_a_stamp_or_after_a_restart_nothing_is_known(without: dict[str, Any]) -> None:
    assert start_stages(pod(minute=1, **(STARTED | without)), "vllm", []) is None


def pulled(*told: tuple[str, str, int]) -> float | None:
    return pull_seconds(
        [PodEvent(str(n), "p", why, what, "", times) for n, (why, what, times) in enumerate(told)]
    )


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (
            'Successfully pulled image "a/b:v1" in 8.078s (9.1s including waiting). Image size: 126 bytes.',
            8.078,
        ),
        ('Successfully pulled image "a/b:v1" in 1m2.5s', 62.5),
        ('Successfully pulled image "a/b:v1" in 1h0m3s (1h0m3s including waiting)', 3603),
        ('Successfully pulled image "a/b:v1" in 812ms (1.2s including waiting)', 0.812),
        ('Container image "a/b:v1" already present on machine', 0),
        ('Successfully pulled image "a/b:v1"', None),
    ],
)
def test_how_long_a_kubelet_says_that_it_pulled(message: str, seconds: float | None) -> None:
    assert pulled(("Pulling", "", 1), ("Pulled", message, 1)) == seconds


def test_the_longest_of_several_images_counts_and_none_that_is_not_there_yet() -> None:
    there, slow = 'Container image "x" already present on machine', 'Successfully pulled image "y" in 30s'
    assert pulled(("Pulled", there, 1), ("Pulling", "", 1), ("Pulled", slow, 1)) == 30
    assert pulled(("Pulling", "", 1)) is None
    assert pulled() is None
