"""The kubelet of the tests says what a real one was recorded saying: the same states in the same order, the
same conditions, the same reasons of events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import eventually
from tests.e2e.test_api_server import RECORD, spec
from tests.real.control_plane import ControlPlane
from tests.real.pod_status import Json
from tests.real.world import RealWorld, real_world

RECORDED = Path(__file__).parents[1] / "fixtures" / "kubelet"
State = dict[str, Any]
"""What of a pod's status does not depend on time and names."""


def conditions(status: Json) -> State:
    """Each with its status and reason."""
    return {found["type"]: (found["status"], found.get("reason")) for found in status["conditions"]}


def container(status: Json) -> State:
    """Its flags, and what its container does and last did."""

    def of(state: Json) -> list[Any]:
        return [(kind, said.get("reason"), said.get("exitCode")) for kind, said in state.items()]

    flags = status["ready"], status["started"]
    return {"flags": flags, "state": of(status["state"]), "last": of(status.get("lastState", {}))}


def state(status: Json) -> State:
    found = status.get("containerStatuses", [])
    return {
        "phase": (status["phase"], status.get("reason")),
        "conditions": conditions({"conditions": [], **status}),
        "containers": [container(one) | {"restarts": one["restartCount"]} for one in found],
    }


class Story:
    """The first pod of a namespace: its states and what its kubelet tells of it, in order, each once.

    It begins when the kubelet first speaks; until then the scheduler has the word."""

    def __init__(self) -> None:
        self.pod = ""
        self.states: list[State] = []
        self._events: list[Json] = []

    def hear(self, kind: str, thing: Json) -> None:
        """The next event of a watch."""
        if kind == "Event":
            self._events.append(thing)
        elif kind == "Pod" and thing["status"].get("containerStatuses"):
            self.pod = self.pod or thing["metadata"]["name"]
            if (
                self.pod == thing["metadata"]["name"]
                and (now := state(thing["status"])) not in self.states[-1:]
            ):
                self.states.append(now)

    @property
    def told(self) -> list[str]:
        """The reasons of its events."""
        return reasons([event for event in self._events if event["involvedObject"]["name"] == self.pod])


def reasons(events: list[Json]) -> list[str]:
    """What probes say is left out: it depends on time. So is the scheduler's word."""
    said = dict.fromkeys((event["reason"], event["message"]) for event in events)
    return [reason for reason, _ in said if reason not in ("Unhealthy", "Scheduled", "FailedScheduling")]


def recorded(name: str, end: Callable[[State], bool]) -> Story:
    """A sequence, up to the first state of which that is true."""
    story = Story()
    lines = (RECORDED / "sequences" / f"{name}.jsonl").read_text().splitlines()
    for event in map(json.loads, lines):
        story.hear(event["kind"], event["object"])
        if story.states and end(story.states[-1]):
            return story
    raise AssertionError("it was never so")


def case(name: str) -> Json:
    """A recorded end state."""
    found = map(json.loads, (RECORDED / "1.37.jsonl").read_text().splitlines())
    return next(case for case in found if case["case"] == name)


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield world


@pytest_asyncio.fixture
async def story(world: RealWorld) -> AsyncIterator[Story]:
    """Of what happens in the namespace from now on."""
    story = Story()

    async def listen(kind: str, things: str, **which: str) -> None:
        path = f"/api/v1/namespaces/{world.namespace}/{things}"
        async with world.admin.watch(path, "0", which) as events:
            async for event in events:
                if event["type"] != "BOOKMARK":
                    story.hear(kind, event["object"])

    engines = asyncio.create_task(listen("Pod", "pods", labelSelector="llm-bot/workload=llm-tinyllama"))
    tasks = [engines, asyncio.create_task(listen("Event", "events"))]
    yield story
    assert [task for task in tasks if task.done()] == [], "they listen to the end"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def is_ready(now: State) -> bool:
    return bool(now["conditions"].get("Ready") == ("True", None))


def waits(reason: str) -> Callable[[State], bool]:
    return lambda now: [one["state"] for one in now["containers"]] == [[("waiting", reason, None)]]


@pytest.mark.parametrize(
    ("behaviour", "name", "end"),
    [
        ("ready", "success", is_ready),
        ("crash", "exit-1", waits("CrashLoopBackOff")),
        ("image", "pull-fails-then-succeeds", waits("ImagePullBackOff")),
        ("evict", "ephemeral-storage", lambda now: now["phase"] == ("Failed", "Evicted")),
    ],
)
async def test_a_pod_goes_through_the_states_of_a_real_one(
    world: RealWorld, story: Story, behaviour: str, name: str, end: Callable[[State], bool]
) -> None:
    world.kubelet.behave["llm-tinyllama"] = behaviour
    await world.cluster.create(spec(), RECORD)
    real = recorded(name, end)
    await eventually(lambda: story.states and end(story.states[-1]))
    assert story.states == real.states
    await eventually(lambda: story.told == real.told)


async def test_a_pod_that_dies_again_waits_longer_each_time(world: RealWorld, story: Story) -> None:
    world.kubelet.behave["llm-tinyllama"] = "crash"
    await world.cluster.create(spec(), RECORD)
    looping = waits("CrashLoopBackOff")
    await eventually(lambda: story.states and looping(story.states[-1]))
    [pod] = await world.pods("tinyllama")
    await world.kubelet.crash(pod)
    third = recorded("exit-1", lambda now: looping(now) and now["containers"][0]["restarts"] == 2)
    await eventually(lambda: story.states[-1] == third.states[-1])
    assert story.states == third.states
    [pod] = await world.pods("tinyllama")
    [status] = pod["status"]["containerStatuses"]
    assert status["state"]["waiting"]["message"].startswith(
        "back-off 20s restarting failed container=vllm pod="
    )
    assert status["lastState"]["terminated"]["message"].endswith("the last line of its log\n")


@pytest.mark.parametrize(("behaviour", "name"), [("oom", "oom"), ("mount", "volume-config-map-absent")])
async def test_a_pod_ends_as_a_real_one(world: RealWorld, story: Story, behaviour: str, name: str) -> None:
    world.kubelet.behave["llm-tinyllama"] = behaviour
    await world.cluster.create(spec(), RECORD)
    real = case(name)
    await eventually(lambda: story.told == reasons(real["events"]))
    now = container(real["containers"][0])
    await eventually(
        lambda: [one | now for one in story.states[-1]["containers"]] == story.states[-1]["containers"]
    )
    assert story.states[-1]["phase"] == (real["phase"], real.get("reason"))
    assert conditions(real).items() <= story.states[-1]["conditions"].items()


async def test_a_pod_that_is_to_go_says_that_it_ended(world: RealWorld, story: Story) -> None:
    await world.cluster.create(spec(), RECORD)
    await eventually(lambda: story.states and is_ready(story.states[-1]))
    await world.cluster.scale("tinyllama", 0)
    real = recorded("asleep", lambda now: now["phase"][0] == "Succeeded")
    await eventually(lambda: story.states[-1] == real.states[-1])
    assert story.states == real.states
    await eventually(lambda: story.told == real.told)


async def test_a_node_that_does_not_answer_is_called_unknown(world: RealWorld) -> None:
    lines = map(json.loads, (RECORDED / "sequences" / "node-lost.jsonl").read_text().splitlines())
    real = [conditions(line["object"]["status"])["Ready"] for line in lines if line["kind"] == "Node"]

    async def ready() -> Any:
        node = await world.admin.request("GET", "/api/v1/nodes/icc-gpu-1")
        return conditions(node["status"])["Ready"]

    unknown = next(now for now in real if now[0] == "Unknown")
    for dead, expected in (({"icc-gpu-1"}, unknown), (set[str](), real[-1])):
        world.kubelet.dead = dead
        await world.kubelet.beat("icc-gpu-1")
        assert await ready() == expected
