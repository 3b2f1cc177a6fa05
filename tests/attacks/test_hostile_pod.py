"""A cluster whose objects hold nonsense: none of them hides, stops or falsifies another."""

import asyncio
import copy
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio.client import ApiClient, Configuration

from bot.cluster.client import Api, Body
from bot.cluster.resources import LARGEST, amount, whole_amount
from bot.cluster.views import ClusterView
from bot.core.bulkhead import Bulkhead
from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook
from bot.core.deployment.cards import card
from bot.core.deployment.workload import Phase, Workload
from bot.core.frozen import EARLIEST, LATEST, MOST
from bot.core.idle.next_step import Evidence, next_step
from bot.core.idle.verdict import IdlePolicy
from bot.core.ports import Inference, Workloads
from bot.platforms.console.render import render
from bot.services.idle.activity import Activity
from tests.cluster.objects import deployment, node, pod, stamp, unplaced, warning
from tests.cluster.recorded import CASES, case_pods, sequence

Json = dict[str, Any]
DEPLOYMENTS, PODS = "/apis/apps/v1/namespaces/demo/deployments", "/api/v1/namespaces/demo/pods"
EVENTS, NODES, ALL_PODS = "/api/v1/namespaces/demo/events", "/api/v1/nodes", "/api/v1/pods"
SCALERS = "/apis/autoscaling/v1/namespaces/demo/horizontalpodautoscalers"
NOW = datetime.fromisoformat(stamp(59))
NONSENSE: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5e308,
    float("inf"),
    float("nan"),
    "",
    "x" * 200_000,
    "\ud800\u202e\x1b[2J\x00",
    "../../../secrets/x",
    [],
    {},
    [None],
    [[]],
    {"a": None},
    "1k",
    "+Inf",
    "9223372036854775807Ki",
    "-5",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2030-01-01T00:00:00",
    "{" * 5000,
    '{"number": 1}',
)
"""What may stand in any place."""
LIMIT_BYTES = 256 * 2**20


class Shown(Api):
    """An API server that shows these objects, by path, and nothing else ever."""

    def __init__(self, things: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(ApiClient(Configuration(host="http://127.0.0.1:9")))
        self.things = things

    async def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        *,
        repeatable: bool = False,
    ) -> Any:
        return {"metadata": {"resourceVersion": "9"}, "items": list(self.things.get(path, ()))}

    @asynccontextmanager
    async def watch(
        self, path: str, version: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Json]]:
        async def silence() -> AsyncIterator[Json]:
            await asyncio.Event().wait()
            yield {}

        yield silence()


@asynccontextmanager
async def seeing(things: Mapping[str, Sequence[Any]]) -> AsyncIterator[ClusterView]:
    """What the bot sees of them."""
    shown = Shown(things)
    view = ClusterView(shown, "demo", "vllm", now=lambda: NOW)
    try:
        await view.start()
        yield view
    finally:
        await view.stop()
        await shown.client.close()


def versioned(thing: Json) -> Json:
    """As an API server shows it."""
    return thing | {"metadata": {"resourceVersion": "7"} | thing["metadata"]}


def cluster_with(*more: tuple[str, Json]) -> dict[str, list[Any]]:
    """A healthy model on a healthy node, and more objects, by path."""
    healthy = pod("healthy", ready=True)
    things: dict[str, list[Any]] = {
        DEPLOYMENTS: [deployment("healthy")],
        PODS: [healthy],
        NODES: [versioned(node("gpu-1"))],
        ALL_PODS: [healthy],
    }
    for path, thing in more:
        things.setdefault(path, []).append(thing)
    return things


def paths(thing: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of an object is."""
    items = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    for key, value in items:
        yield (*before, key)
        yield from paths(value, (*before, key))


def replaced(thing: Json, where: tuple[Any, ...], value: Any) -> Json:
    """The object with another value there; if that place is gone by now, as it is."""
    changed = copy.deepcopy(thing)
    place: Any = changed
    for key in where[:-1]:
        place = place[key] if isinstance(place, dict) and key in place else None
        if isinstance(place, list):
            return _in_list(changed, where, value)
    if isinstance(place, dict):
        place[where[-1]] = copy.deepcopy(value)
    return changed


def _in_list(thing: Json, where: tuple[Any, ...], value: Any) -> Json:
    place: Any = thing
    for key in where[:-1]:
        fits = (isinstance(place, dict) and key in place) or (
            isinstance(place, list) and isinstance(key, int) and key < len(place)
        )
        if not fits:
            return thing
        place = place[key]
    if isinstance(place, dict) or (isinstance(place, list) and isinstance(where[-1], int) and place):
        place[where[-1] if isinstance(place, dict) else where[-1] % len(place)] = copy.deepcopy(value)
    return thing


def hostile_objects() -> dict[str, list[tuple[str, Json]]]:
    """Objects as a real kubelet left them, by what they are: each is to be broken in turn."""
    placed = [found for name in CASES for found in case_pods(name)]
    for found in placed:
        found["metadata"] |= {"labels": pod("tiny")["metadata"]["labels"]}
    told = [thing for _, _, kind, thing in sequence("startup-kill") if kind == "Event"]
    names = {found["metadata"]["name"] for found in placed}
    events = [warning(name, "FailedMount", "no such export") for name in sorted(names)] + told[:20]
    scaler = {"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llm-x"}}}
    return {
        "pods": [(path, versioned(found)) for found in placed for path in (PODS, ALL_PODS)],
        "deployments": [(DEPLOYMENTS, deployment("tiny")), (DEPLOYMENTS, deployment("tiny", replicas=0))],
        "nodes": [(NODES, versioned(node("gpu-2")))],
        "events": [(EVENTS, versioned(event)) for event in events],
        "scalers": [(SCALERS, versioned(scaler))],
    }


HOSTILE = hostile_objects()


class Broken(tuple[str, Any]):
    """A path and what is shown there, which is told in few words when a test fails."""

    def __repr__(self) -> str:
        return f"{self[0]}: {str(self[1])[:2000]}"


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, Any]:
    """One of these objects with nonsense in some places, or nonsense instead of it."""
    path, thing = draw(st.sampled_from(HOSTILE[draw(st.sampled_from(sorted(HOSTILE)))]))
    if draw(st.integers(0, 30)) == 0:
        return Broken((path, draw(st.sampled_from(NONSENSE))))
    for _ in range(draw(st.integers(1, 4))):
        thing = replaced(
            thing, draw(st.sampled_from(sorted(paths(thing), key=repr))), draw(st.sampled_from(NONSENSE))
        )
    return Broken((path, thing))


PHRASES = Phrasebook(LOCALES, lambda: NOW)


def all_that_is_said(view: ClusterView, workload: Workload) -> str:
    """The card in every language and the next step of a sweep; no exception."""
    activity = Activity(
        cast(Workloads, view), cast(Inference, None), _StoppedClock(), IdlePolicy(), Bulkhead()
    )
    verdict = activity.verdict(workload)
    next_step(workload, Evidence(verdict, activity.verdict(workload, early=timedelta(5))), IdlePolicy(), NOW)
    shown = card(workload, NOW, nodes=view.nodes(), address="http://x", sleeps_after=timedelta(minutes=30))
    return "".join(render(shown, PHRASES.speaker(language)) for language in ("en", "de"))


class _StoppedClock:
    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def attacked(*more: tuple[str, Any]) -> None:
    """The healthy one is seen and served whatever the others are; these are a model, or are told."""
    async with asyncio.timeout(20), seeing(cluster_with((DEPLOYMENTS, deployment("tiny")), *more)) as view:
        assert view.find("healthy").phase is Phase.READY
        assert next(n for n in view.nodes() if n.name == "gpu-1").used["healthy"] == 1
        assert [server.pod for server in view.servers("llm-healthy", "http://{service}.{namespace}.svc:8000")]
        for workload in view.workloads():
            assert EARLIEST <= workload.since <= LATEST
            assert len(all_that_is_said(view, workload)) < 100_000
        for why in view.unreadable().values():
            assert len(why) <= 200


@settings(max_examples=150)
@given(st.lists(broken(), min_size=1, max_size=3))
def test_nonsense_in_any_field_stays_with_its_object(things: list[tuple[str, Any]]) -> None:
    asyncio.run(attacked(*things))


QUANTITIES = {
    "1k": 1000,
    "500m": 1,
    "1e3": 1000,
    "2": 2,
    "+Inf": 0,
    "NaN": 0,
    "-5": 0,
    "": 0,
    "many": 0,
    "9223372036854775807Ki": MOST,
    "1e999": MOST,
    "9" * 1000: 0,
}


@pytest.mark.parametrize(("written", "gpus"), QUANTITIES.items(), ids=lambda it: str(it)[:12])
async def test_kind_08_a_quantity_of_somebody_elses_pod_stops_nobody(written: str, gpus: int) -> None:
    waiting, running = unplaced("0/1 nodes are available"), pod(name="other", ready=True)
    for number, theirs in enumerate((waiting, running)):
        theirs["metadata"] |= {"namespace": "theirs", "name": f"other-{number}", "labels": {}}
        theirs["spec"]["containers"][0]["resources"]["requests"] = {
            "nvidia.com/gpu": written,
            "cpu": written,
            "memory": written,
        }
    async with seeing(cluster_with((ALL_PODS, waiting), (ALL_PODS, running))) as view:
        used = {"healthy": 1} | ({"theirs/other-1": gpus} if gpus else {})
        assert view.nodes()[0].used == used and view.find("healthy").phase is Phase.READY
        assert view.unreadable() == {} and view.nodes()[0].free >= 0


def test_quantities_saturate() -> None:
    for written in ("9" * 60 + "Ei", "1e999", 1e300, 10**59):
        assert amount(written) == LARGEST and whole_amount(written) == MOST
    assert amount("0.1") == 0.1 and whole_amount("0.1") == 1 and amount("-1") == amount("+Inf") == 0


@pytest.mark.parametrize(
    "year", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
async def test_far_years_saturate_wherever_they_stand(year: str) -> None:
    told = pod("tiny", ready=True)
    told["metadata"]["creationTimestamp"] = told["status"]["startTime"] = year
    told["status"]["conditions"][0]["lastTransitionTime"] = year
    state = {"terminated": {"exitCode": 1, "startedAt": year, "finishedAt": year}}
    told["status"]["containerStatuses"] = [
        {
            "name": "vllm",
            "restartCount": 10**30,
            "state": {"running": {"startedAt": year}},
            "lastState": state,
        }
    ]
    going = deployment("tiny")
    going["metadata"]["creationTimestamp"] = year
    async with seeing(cluster_with((DEPLOYMENTS, going), (PODS, told))) as view:
        found = view.find("tiny")
        assert view.unreadable() == {} and found.phase is Phase.READY
        assert EARLIEST <= found.since <= LATEST and EARLIEST <= found.created <= LATEST
        assert all_that_is_said(view, found)


SPEC = {"name": "tiny", "model": "m", "repo": "r", "max_model_len": 1}
RECORDS: dict[str, Json] = {
    "a year that nobody means": {"llm-bot/lease-ends-at": "9999-12-31T00:00:00Z"},
    "a window of 8,000 years": {"llm-bot/idle-window": "P2990080D"},
    "no spec": {"llm-bot/spec": ""},
    "brackets": {"llm-bot/last-end": "[" * 100_000},
    "no GPUs": {"llm-bot/spec": json.dumps(SPEC | {"tensor_parallel_size": 0})},
    "an unknown format": {"llm-bot/spec": json.dumps(SPEC | {"quantization": "x"})},
    "another's spec": {"llm-bot/spec": json.dumps(SPEC | {"name": "healthy"})},
}


@pytest.mark.parametrize("annotations", RECORDS.values(), ids=RECORDS)
async def test_a_record_that_somebody_broke_is_known_as_unreadable_with_a_reason(annotations: Json) -> None:
    theirs = deployment("tiny")
    theirs["metadata"]["annotations"] |= annotations
    async with seeing(cluster_with((DEPLOYMENTS, theirs))) as view:
        assert [workload.name for workload in view.workloads()] == ["healthy"]
        assert list(view.unreadable()) == ["llm-tiny"] and view.unreadable()["llm-tiny"]
        assert view.find("healthy").spec.repo == "org/healthy"


async def test_a_pod_with_10000_containers_and_large_annotations_costs_little() -> None:
    theirs = pod("tiny")
    states = {"waiting": {"reason": "CrashLoopBackOff", "message": "x" * 100}}
    status = {"state": states, "lastState": {}, "restartCount": 3}
    theirs["status"]["containerStatuses"] = [status | {"name": f"c{number}"} for number in range(10_000)]
    theirs["metadata"]["annotations"] = {"a": "x" * 200_000}
    going = deployment("tiny")
    going["metadata"]["annotations"]["note"] = "x" * 200_000
    tracemalloc.start()
    begun = time.monotonic()
    try:
        async with seeing(cluster_with((DEPLOYMENTS, going), (PODS, theirs), (ALL_PODS, theirs))) as view:
            assert view.find("tiny") and view.find("healthy").phase is Phase.READY
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LIMIT_BYTES and time.monotonic() - begun < 60
