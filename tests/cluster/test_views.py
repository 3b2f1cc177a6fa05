"""What the bot sees of a cluster, over the wire, from the first list to watches that break."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.cluster.client import connect
from bot.cluster.mirror import Pace
from bot.cluster.pod_events import TROUBLE
from bot.cluster.views import ClusterView
from bot.core.chat.errors import UserError
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Phase
from tests.cluster.objects import BEGUN, RECORD, container, deployment, node, pod, stamp, unplaced, warning
from tests.conftest import eventually
from tests.fakes.kubernetes import FakeKubernetes

DEPLOYMENTS = "/apis/apps/v1/namespaces/demo/deployments"
PODS, EVENTS, NODES = "/api/v1/namespaces/demo/pods", "/api/v1/namespaces/demo/events", "/api/v1/nodes"
SCALERS = "/apis/autoscaling/v1/namespaces/demo/horizontalpodautoscalers"


Start = Callable[[], Coroutine[None, None, ClusterView]]


@pytest_asyncio.fixture
async def start(kubernetes: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Start]:
    """Call it when what was there before is written."""
    api = await connect(kubernetes.kubeconfig(tmp_path))
    pace = Pace(0.1, 0.2, stalled_after=0.5)
    views = ClusterView(api, "demo", "vllm", pace, lambda: datetime.fromisoformat(stamp(59)))

    async def start() -> ClusterView:
        await views.start()
        return views

    yield start
    await views.stop()
    await api.close()


def phase(views: ClusterView) -> Phase | None:
    return next((workload.phase for workload in views.workloads()), None)


async def becomes(views: ClusterView, seen: Phase) -> None:
    await eventually(lambda: views.find("tiny").phase is seen)


async def test_what_is_there_is_seen_at_the_start_and_what_changes_after_it(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment("old"))
    await kubernetes.put(PODS, pod("old", ready=True))
    views = await start()
    assert {w.name: w.phase for w in views.workloads()} == {"old": Phase.READY} and views.synced
    await kubernetes.put(DEPLOYMENTS, deployment("tiny"))
    await eventually(lambda: len(views.workloads()) == 2)
    assert views.find("tiny").phase is Phase.SCHEDULING
    for step, seen in (
        (unplaced("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), Phase.QUEUED),
        (pod(), Phase.PREPARING),
        (pod(containerStatuses=container({"running": {"startedAt": stamp(3)}})), Phase.LOADING),
        (pod(ready=True), Phase.READY),
    ):
        await kubernetes.put(PODS, step)
        await becomes(views, seen)
    await kubernetes.delete(f"{DEPLOYMENTS}/llm-tiny")
    await eventually(lambda: [w.name for w in views.workloads()] == ["old"])
    with pytest.raises(UserError) as gone:
        views.find("tiny")
    assert gone.value.text.key == "workload.gone"


async def test_a_deployment_that_is_being_deleted_is_gone_already(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    views = await start()
    going = deployment()
    going["metadata"]["deletionTimestamp"] = stamp(5)
    await kubernetes.put(DEPLOYMENTS, going)
    await eventually(lambda: not views.workloads())


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[models], unattached volumes=[models]: "
            "timed out waiting for the condition",
        ),
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[models], unattached volumes=[], "
            "failed to process volumes=[]: context deadline exceeded",
        ),
        ("FailedMount", 'MountVolume.SetUp failed for volume "gone" : secret "absent-volume" not found'),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) llm-other-1',
        ),
        ("FailedMapVolume", 'MapVolume.SetUpDevice failed for volume "pvc-1" : no such device'),
        (
            "FailedCreatePodSandBox",
            "Failed create pod sandbox: rpc error: code = Unknown desc = failed to set up sandbox container "
            '"4c1f" network for pod "llm-tiny-1": networkPlugin cni failed to set up pod',
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for "
            'sandbox "4c1f": plugin type="calico" failed (add): error getting ClusterInformation',
        ),
        ("FailedPodSandBoxStatus", "Unable to get pod sandbox status: rpc error: code = Unavailable"),
        (
            "NetworkNotReady",
            "network is not ready: container runtime network not ready: NetworkReady=false",
        ),
        (
            "VolumePermissionChangeInProgress",
            "Setting volume ownership for 4bba/volumes/kubernetes.io~nfs/models, processed 9000 files.",
        ),
        ("FailedPrepareDynamicResources", "Failed to prepare dynamic resources: no driver"),
    ],
)
async def test_a_warning_tells_what_holds_a_pod_up(
    kubernetes: FakeKubernetes, start: Start, reason: str, message: str
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod(containerStatuses=container({"waiting": {"reason": "ContainerCreating"}})))
    views = await start()
    await kubernetes.put(EVENTS, warning("llm-tiny-1", reason, f"{message} "))
    await eventually(lambda: views.find("tiny").cause)
    held = views.find("tiny")
    wait = {"FailedAttachVolume": "volume_used"}.get(reason, TROUBLE[reason])
    wait = "config" if "secret" in message else wait
    assert (held.phase, held.cause, held.evidence) == (Phase.PREPARING, wait, message)


async def test_a_warning_that_was_there_before_counts_and_its_end_too(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(EVENTS, warning("llm-tiny-1", "FailedMount", "no such export", "e1"))
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod())
    views = await start()
    await eventually(lambda: views.find("tiny").evidence == "no such export")
    await kubernetes.delete(f"{EVENTS}/e1")
    await eventually(lambda: views.find("tiny").cause == "")


async def test_other_warnings_and_those_of_others_hold_nothing_up(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod())
    views = await start()
    other = warning("llm-tiny-1", "FailedMount", "of a Node", "e2")
    other["involvedObject"]["kind"] = "Node"
    for event in (
        warning("llm-tiny-1", "Unhealthy", "Startup probe failed"),
        warning("llm-tiny-1", "BackOff", "Back-off pulling image"),
        warning("llm-tiny-1", "FailedScheduling", "0/1 nodes are available"),
        warning("somebody-1", "FailedMount", "not ours"),
        other,
        warning("llm-tiny-1", "FailedMount", "ours", "last"),
    ):
        await kubernetes.put(EVENTS, event)
    await eventually(lambda: views.find("tiny").cause)
    assert views.find("tiny").evidence == "ours"


async def test_a_node_that_stops_to_answer_takes_its_models_and_gives_them_back(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(NODES, node("gpu-1"))
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod(ready=True))
    views = await start()
    await eventually(lambda: phase(views) is Phase.READY)
    await kubernetes.put(NODES, node("gpu-1", ready=False))
    await eventually(lambda: views.find("tiny").cause == "node_lost")
    await kubernetes.put(NODES, node("gpu-1"))
    await eventually(lambda: phase(views) is Phase.READY)


async def test_gpus_are_counted_for_whoever_holds_them(kubernetes: FakeKubernetes, start: Start) -> None:
    for name, gpus in (("gpu-1", 4), ("gpu-2", 2), ("cpu-1", 0)):
        await kubernetes.put(NODES, node(name, gpus))
    foreign = pod(name="train-1", gpus=1, ready=True)
    foreign["metadata"] |= {"namespace": "lab", "labels": {}}
    await kubernetes.put("/api/v1/namespaces/lab/pods", foreign)
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod(gpus=2, ready=True))
    await kubernetes.put(
        PODS, unplaced("0/3: 3 Insufficient nvidia.com/gpu") | {"metadata": pod(name="b")["metadata"]}
    )
    views = await start()
    first, second = views.nodes()
    assert (first.name, first.total, first.used) == ("gpu-1", 4, {"tiny": 2, "lab/train-1": 1})
    assert (second.name, second.free) == ("gpu-2", 2)
    await kubernetes.put("/api/v1/namespaces/lab/pods", foreign | {"status": {"phase": "Succeeded"}})
    await eventually(lambda: views.nodes()[0].used == {"tiny": 2})


async def test_whoever_frees_a_gpu_those_that_wait_for_one_change_and_for_nothing_else(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    lab = "/api/v1/namespaces/lab/pods"
    others = {}
    for name, gpus in (("train", 4), ("web", 0)):
        others[name] = pod(name=name, gpus=gpus, ready=True)
        others[name]["metadata"] |= {"namespace": "lab", "labels": {}}
        await kubernetes.put(lab, others[name])
    await kubernetes.put(NODES, node("gpu-1"))
    await kubernetes.put(DEPLOYMENTS, deployment("waits", 0, RECORD.changed(queued_since=BEGUN)))
    views = await start()
    told: list[str] = []

    async def listen() -> None:
        with views.changes() as names:
            async for name in names:
                told.append(name)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)  # it listens
    await kubernetes.delete(f"{lab}/web")
    await kubernetes.put(DEPLOYMENTS, deployment("last"))
    await eventually(lambda: "last" in told)
    assert "waits" not in told
    await kubernetes.delete(f"{lab}/train")
    await eventually(lambda: told[-1] == "waits")
    await kubernetes.put(NODES, node("gpu-1", gpus=2))
    await eventually(lambda: told.count("waits") == 2)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_an_autoscaler_is_seen_while_it_is_there(kubernetes: FakeKubernetes, start: Start) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    views = await start()
    scaler = {
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llm-tiny"}},
    }
    await kubernetes.put(SCALERS, scaler)
    await eventually(lambda: views.find("tiny").managed_by == "HorizontalPodAutoscaler")
    await kubernetes.delete(f"{SCALERS}/a")
    await eventually(lambda: views.find("tiny").managed_by == "")


async def test_each_change_is_told_by_name_also_of_the_web_ui(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    views = await start()
    told: list[str] = []

    async def listen() -> None:
        with views.changes() as names:
            async for name in names:
                told.append(name)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)  # it listens
    await kubernetes.put(DEPLOYMENTS, deployment("one"))
    await eventually(lambda: told == ["one"])
    web_ui = deployment("webui")
    web_ui["metadata"]["annotations"] = {}
    await kubernetes.put(DEPLOYMENTS, web_ui)
    await eventually(lambda: told == ["one", "llm-webui"])
    assert [w.name for w in views.workloads()] == ["one"]
    await kubernetes.delete(f"{DEPLOYMENTS}/llm-one")
    await eventually(lambda: told == ["one", "llm-webui", "one"])
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_what_is_unreadable_hides_one_workload_and_not_the_others(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    broken = deployment("broken")
    broken["metadata"]["annotations"]["llm-bot/spec"] = "{nonsense"
    await kubernetes.put(DEPLOYMENTS, broken)
    await kubernetes.put(DEPLOYMENTS, deployment("whole"))
    views = await start()
    assert [w.name for w in views.workloads()] == ["whole"]
    await kubernetes.put(DEPLOYMENTS, deployment("broken"))
    await eventually(lambda: {w.name for w in views.workloads()} == {"whole", "broken"})


@pytest.mark.parametrize(
    "annotations",
    [
        {"llm-bot/spec": "{nonsense"},
        {"llm-bot/format": "1", "llm-bot/started": "2030-01-01T12:00:00Z", "llm-bot/sleep": "[]"},
    ],
)
async def test_what_becomes_unreadable_is_not_shown_as_it_was(
    kubernetes: FakeKubernetes, start: Start, annotations: dict[str, str]
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    views = await start()
    broken = deployment()
    broken["metadata"]["annotations"] |= annotations
    await kubernetes.put(DEPLOYMENTS, broken)
    await eventually(lambda: views.workloads() == [])
    await kubernetes.put(DEPLOYMENTS, deployment())
    await eventually(lambda: views.workloads())


async def test_what_crashes_again_and_again_has_failed_since_the_first_time(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    def crashed(minute: int) -> dict[str, Any]:
        ended = {"terminated": {"reason": "Error", "finishedAt": stamp(minute)}}
        back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
        return pod(containerStatuses=container(back_off, ended, restarts=minute))

    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, crashed(10))
    views = await start()
    await kubernetes.put(PODS, crashed(20))
    await eventually(lambda: views.pods_of("llm-tiny") == [kubernetes.object(f"{PODS}/llm-tiny-1")])
    assert (phase(views), views.find("tiny").since) == (Phase.FAILED, datetime.fromisoformat(stamp(10)))
    await kubernetes.put(PODS, pod(ready=True))
    await eventually(lambda: phase(views) is Phase.READY)
    await kubernetes.put(PODS, crashed(30))
    await eventually(lambda: phase(views) is Phase.FAILED)
    assert views.find("tiny").since == datetime.fromisoformat(stamp(30))


async def test_deployments_of_others_are_not_looked_at(kubernetes: FakeKubernetes, start: Start) -> None:
    foreign = deployment("foreign")
    foreign["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "helm"}
    await kubernetes.put(DEPLOYMENTS, foreign)
    views = await start()
    await kubernetes.put(DEPLOYMENTS, deployment())
    await eventually(lambda: views.workloads())
    assert [w.name for w in views.workloads()] == ["tiny"]


@pytest.mark.parametrize("forget", [False, True])
async def test_watches_that_end_or_expire_are_taken_up_again(
    kubernetes: FakeKubernetes, start: Start, forget: bool
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod())
    views = await start()
    await eventually(lambda: kubernetes.watching.get(PODS) == 1)
    await kubernetes.put(PODS, pod(ready=True))
    await eventually(lambda: phase(views) is Phase.READY)
    await kubernetes.end_watches(forget=forget)
    await kubernetes.delete(f"{PODS}/llm-tiny-1")
    await eventually(lambda: phase(views) is Phase.SCHEDULING)
    assert views.synced


async def test_replicas_are_reached_by_their_own_addresses_inside_the_cluster(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    await kubernetes.put(DEPLOYMENTS, deployment(replicas=3))
    await kubernetes.put(PODS, pod(name="b", minute=2, ready=True, podIP="10.0.0.2"))
    await kubernetes.put(PODS, pod(name="a", minute=1, ready=True, podIP="10.0.0.1"))
    await kubernetes.put(PODS, pod(name="c", minute=3))
    views = await start()
    inside = views.servers("llm-tiny", "http://{service}.{namespace}.svc:8000")
    assert [(s.pod, s.url) for s in inside] == [("a", "http://10.0.0.1:8000"), ("b", "http://10.0.0.2:8000")]
    outside = views.servers("llm-tiny", "http://localhost/{namespace}/{service}")
    assert {s.url for s in outside} == {"http://localhost/demo/llm-tiny"} and len(outside) == 2
    assert [p["metadata"]["name"] for p in views.pods_of("llm-tiny")] == ["a", "b", "c"]


async def test_what_may_not_be_seen_is_named_and_our_own_pods_count_then(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    kubernetes.forbid = {("list", "all pods"), ("list", "events")}
    await kubernetes.put(NODES, node("gpu-1"))
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod(ready=True))
    views = await start()
    assert set(views.missing_rights()) == {"pods", "events"}
    assert views.nodes()[0].used == {"tiny": 1}


async def test_without_the_right_to_see_deployments_it_does_not_start(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    kubernetes.forbid = {("list", "deployments")}
    with pytest.raises(UserError) as refused:
        await start()
    told = refused.value.text
    assert (told.key, told.params["resource"], told.params["namespace"]) == (
        "error.forbidden",
        "deployments",
        "demo",
    )


async def test_what_is_shown_as_it_was_is_named_until_it_is_followed_again(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    views = await start()
    await asyncio.sleep(0.6)
    assert views.stalled() == []
    kubernetes.forbid = {("list", "deployments"), ("list", "events")}
    await kubernetes.end_watches(forget=True)
    await eventually(lambda: views.stalled() == ["deployments"] and views.missing_rights() == ["events"])
    kubernetes.forbid = set()
    await eventually(lambda: (views.stalled(), views.missing_rights()) == ([], []))


async def test_what_holds_a_container_up_is_not_forgotten_while_its_next_try_waits(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    ended = {"terminated": {"exitCode": 1, "startedAt": stamp(2), "finishedAt": stamp(3)}}
    missing = {"reason": "CreateContainerConfigError", "message": 'configmap "gone" not found'}
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, pod(containerStatuses=container({"waiting": missing}, ended)))
    views = await start()
    backing_off = container({"waiting": {"reason": "CrashLoopBackOff"}}, ended)
    with views.changes() as changes:
        await kubernetes.put(PODS, pod(containerStatuses=backing_off))
        assert await anext(aiter(changes)) == "tiny"
    seen = views.find("tiny")
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.PREPARING, "config", missing["message"])
    await kubernetes.put(PODS, pod(containerStatuses=container({"running": {"startedAt": stamp(4)}}, ended)))
    await becomes(views, Phase.LOADING)


def busy(cpu: str, name: str = "other", gpus: int = 0) -> dict[str, Any]:
    """A pod of somebody else on a node with GPUs."""
    made = pod(name=name, gpus=gpus)
    made["metadata"] |= {"namespace": "theirs", "labels": {}}
    made["spec"]["containers"][0]["resources"]["requests"] |= {"cpu": cpu, "memory": "1Gi"}
    return made


async def test_a_wait_for_cpu_has_numbers_and_they_change_with_what_others_take(
    kubernetes: FakeKubernetes, start: Start
) -> None:
    gpu_node = node("gpu-1")
    gpu_node["status"]["allocatable"] |= {"cpu": "2", "memory": "8Gi"}
    waiting = unplaced("0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient cpu.")
    waiting["spec"]["containers"][0]["resources"]["requests"] |= {"cpu": "1500m", "memory": "512Mi"}
    await kubernetes.put(NODES, gpu_node)
    await kubernetes.put(DEPLOYMENTS, deployment())
    await kubernetes.put(PODS, waiting)
    theirs = "/api/v1/namespaces/theirs/pods"
    await kubernetes.put(theirs, busy("1500m"))
    views = await start()
    assert views.find("tiny").phase is Phase.SCHEDULING
    assert views.find("tiny").shortage == Shortage(resource="cpu", asked=1.5, left=0.5, node="gpu-1")
    await kubernetes.put(theirs, busy("250m", "another"))
    short = Shortage(resource="cpu", asked=1.5, left=0.25, node="gpu-1")
    await eventually(lambda: views.find("tiny").shortage == short)
    assert views.lacks(waiting) is None
    waiting["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "3"
    assert views.lacks(waiting) == Shortage(resource="cpu", asked=3, left=2, node="gpu-1")
