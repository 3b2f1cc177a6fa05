"""What pods and Deployments tell, in the words of older schedulers and kubelets and in those of 1.37."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from bot.cluster import pod_fields
from bot.cluster import pods as cluster_pods
from bot.cluster.endings import last_ending
from bot.cluster.pod_events import PodEvent
from bot.cluster.pod_fields import is_ready
from bot.cluster.pods import PodState, PodSurroundings
from bot.cluster.since_before import as_before
from bot.cluster.waits import PATIENCE
from bot.core.deployment.cards import card
from bot.core.deployment.ending import Ending
from bot.core.deployment.record import LastUse, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Workload
from tests.cluster.objects import BEGUN, RECORD, Json, container, deployment, pod, stamp, unplaced

server_id = partial(pod_fields.server_id, container="vllm")


def around(*events: PodEvent, **more: Any) -> PodSurroundings:
    """Of a model whose pods have these events."""
    told: dict[str, list[PodEvent]] = {}
    for event in events:
        told.setdefault(event.pod, []).append(event)
    return PodSurroundings(container="vllm", events=told, **more)


def event(reason: str, message: str = "", *, minute: int = 2, about: str = "llm-tiny-1") -> PodEvent:
    """An event of a pod."""
    return PodEvent(f"{about}.{reason}.{minute}", about, reason, message, stamp(minute))


def pod_state(pod: Json, *events: PodEvent, **more: Any) -> PodState:
    """The state of one pod."""
    return cluster_pods.pod_state(pod, around(*events, **more))


def read_workload(deployment: Json, pods: list[Json], *events: PodEvent, **more: Any) -> Workload:
    """The workload of these pods."""
    return cluster_pods.read_workload(deployment, pods, around(*events, **more))


OLD_PREEMPTION = " preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
PREEMPTION = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    "message",
    [
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        "0/3 nodes are available: 1 node(s) had taint {gpu: }, that the pod didn't tolerate, "
        "2 Insufficient nvidia.com/gpu.",
        f"0/3 nodes are available: 3 Insufficient nvidia.com/gpu.{OLD_PREEMPTION}",
        f"0/3 nodes are available: 3 Insufficient nvidia.com/gpu.{PREEMPTION}",
        "0/3 nodes are available: 1 node(s) had volume node affinity conflict, "
        "2 Insufficient nvidia.com/gpu.",
        "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu.",
    ],
)
@pytest.mark.parametrize("room", [False, None])
def test_a_pod_that_lacks_gpus_waits_in_line(message: str, room: bool | None) -> None:
    state = pod_state(unplaced(message), has_room=lambda gpus: room)
    assert (state.phase, state.cause, state.evidence) == (Phase.QUEUED, "", message)


@pytest.mark.parametrize(
    ("reasons", "need"),
    [
        ("1 Insufficient cpu, 2 Insufficient nvidia.com/gpu.", "cpu"),
        ("1 Insufficient memory, 2 Insufficient nvidia.com/gpu.", "memory"),
        ("1 Insufficient ephemeral-storage, 2 Insufficient nvidia.com/gpu.", "disk"),
        ("1 Too many pods, 2 Insufficient nvidia.com/gpu.", "pods"),
        ("1 node(s) had volume node affinity conflict, 2 Insufficient nvidia.com/gpu.", "volume_node"),
        ("1 node(s) were unschedulable, 2 Insufficient nvidia.com/gpu.", "cordoned"),
        ("1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu.", "taints"),
        ("1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient nvidia.com/gpu.", "node"),
    ],
)
def test_where_gpus_are_free_something_else_is_missing(reasons: str, need: str) -> None:
    message = f"0/3 nodes are available: {reasons}{PREEMPTION}"
    state = pod_state(unplaced(message), has_room=lambda gpus: True)
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, need, message)


@pytest.mark.parametrize("preemption", ["", PREEMPTION])
def test_gpus_that_were_freed_since_the_scheduler_looked_are_not_a_forbidden_node(preemption: str) -> None:
    message = f"0/3 nodes are available: 3 Insufficient nvidia.com/gpu.{preemption}"
    state = pod_state(unplaced(message), has_room=lambda gpus: True)
    assert (state.phase, state.cause, state.evidence) == (Phase.QUEUED, "", message)


@pytest.mark.parametrize(
    "reasons",
    [
        "pod has unbound immediate PersistentVolumeClaims.",
        "3 pod has unbound immediate PersistentVolumeClaims.",
        f"pod has unbound immediate PersistentVolumeClaims.{PREEMPTION}",
        "3 node(s) had volume node affinity conflict.",
        f"3 node(s) had volume node affinity conflict.{OLD_PREEMPTION}",
        f"3 node(s) didn't match PersistentVolume's node affinity.{PREEMPTION}",
        f"3 node(s) didn't find available persistent volumes to bind.{PREEMPTION}",
        f"3 node(s) did not have enough free storage.{PREEMPTION}",
        f"3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).{PREEMPTION}",
        f"3 node(s) had no available volume zone.{PREEMPTION}",
        f"3 node(s) exceed max volume count.{OLD_PREEMPTION}",
        f"3 node(s) had no available disk.{OLD_PREEMPTION}",
        'persistentvolumeclaim "llm-models" not found.',
        f'persistentvolumeclaim "llm-models" not found. not found{PREEMPTION}',
        'persistentvolumeclaim "llm-models" bound to non-existent persistentvolume "gone".',
    ],
)
def test_a_pod_that_misses_a_volume_says_so(reasons: str) -> None:
    message = f"0/3 nodes are available: {reasons}"
    state = pod_state(unplaced(message))
    need = "volume_node" if "node affinity" in reasons else "volume"
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, need, message)


@pytest.mark.parametrize(
    ("reasons", "need"),
    [
        ("3 node(s) had taint {nvidia.com/gpu: }, that the pod didn't tolerate.", "taints"),
        (f"3 node(s) had untolerated taint {{nvidia.com/gpu: }}.{OLD_PREEMPTION}", "taints"),
        (f"3 node(s) had untolerated taint {{volume-test: yes}}.{OLD_PREEMPTION}", "taints"),
        (f"3 node(s) had untolerated taint(s).{PREEMPTION}", "taints"),
        ("3 node(s) didn't match node selector.", "node"),
        ("3 node(s) didn't match Pod's node affinity.", "node"),
        (f"3 node(s) didn't match Pod's node affinity/selector.{PREEMPTION}", "node"),
        (f"3 node(s) were unschedulable.{PREEMPTION}", "cordoned"),
        (f"3 Insufficient cpu.{OLD_PREEMPTION}", "cpu"),
        (f"3 Too many pods.{PREEMPTION}", "pods"),
    ],
)
def test_a_pod_that_may_run_nowhere_says_so(reasons: str, need: str) -> None:
    message = f"0/3 nodes are available: {reasons}"
    state = pod_state(unplaced(message))
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, need, message)


def test_a_scheduler_that_cannot_judge_is_believed_of_storage_alone() -> None:
    missing = 'failed to find storage class "fast"'
    state = pod_state(unplaced(missing, "SchedulerError"))
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, "volume", missing)
    passing = pod_state(unplaced("etcdserver: request timed out", "SchedulerError"))
    assert (passing.phase, passing.cause, passing.evidence) == (Phase.SCHEDULING, "", "")


def test_a_pod_that_nobody_has_looked_at_is_being_scheduled() -> None:
    assert pod_state(pod(node="")).phase is Phase.SCHEDULING


LASTING = PATIENCE + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("ErrImagePull", "rpc error: Error response from daemon: pull access denied", "image_denied"),
        ("ErrImagePull", "manifest for ghcr.io/none/none:v1 not found: manifest unknown", "image_absent"),
        ("ErrImagePull", "toomanyrequests: You have reached your pull rate limit", "image_limit"),
        ("ErrImagePull", "no matching manifest for linux/amd64 in the manifest list", "image_platform"),
        ("ImagePullBackOff", 'Back-off pulling image "ghcr.io/none/none:v1"', "image_pull"),
        ("ImageInspectError", 'Failed to inspect image "absent:v1"', "image_pull"),
        ("RegistryUnavailable", "registry is not available", "image_pull"),
    ],
)
def test_an_image_that_cannot_be_pulled_for_a_while_is_a_failure(
    reason: str, message: str, cause: str
) -> None:
    waiting = pod(containerStatuses=container({"waiting": {"reason": reason, "message": message}}))
    seen = read_workload(deployment(), [waiting])
    assert (seen.phase, seen.cause) == (Phase.PULLING, "pull")
    seen = read_workload(deployment(), [waiting], waited=LASTING)
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, cause, message)


def test_trying_to_pull_and_backing_off_show_the_same() -> None:
    why = "failed to resolve image: dial tcp: i/o timeout"
    told = event("Failed", f'Failed to pull image "x:v1": {why}')
    shown = {
        read_workload(deployment(), [waiting], told).evidence
        for reason, message in (
            ("ErrImagePull", why),
            ("ImagePullBackOff", f'Back-off pulling image "x:v1": ErrImagePull: {why}'),
            ("ImagePullBackOff", 'Back-off pulling image "x:v1"'),
        )
        for waiting in [pod(containerStatuses=container({"waiting": {"reason": reason, "message": message}}))]
    }
    assert shown == {why}


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("InvalidImageName", "image_name"),
        ("ErrImageNeverPull", "image_pull"),
        ("SignatureValidationFailed", "image_pull"),
    ],
)
def test_an_image_that_is_never_pulled_is_a_failure_at_once(reason: str, cause: str) -> None:
    state = pod_state(pod(containerStatuses=container({"waiting": {"reason": reason, "message": "no"}})))
    assert (state.phase, state.cause, state.evidence) == (Phase.FAILED, cause, "no")


@pytest.mark.parametrize(
    ("reason", "message", "wait", "cause"),
    [
        ("CreateContainerConfigError", 'secret "absent" not found', "config", "config_missing"),
        (
            "CreateContainerConfigError",
            "failed to sync secret cache: timed out waiting for the condition",
            "config",
            "config_missing",
        ),
        ("ImageInspectError", "dial unix /run/containerd.sock: connect: refused", "runtime", "runtime_down"),
        ("CreateContainerError", "context deadline exceeded", "container", "config"),
        ("RunContainerError", "failed to create containerd task: no such device", "container", "config"),
        ("PreCreateHookError", "Internal PreCreateContainer hook failed", "container", "config"),
        ("PreStartHookError", "Internal PreStartContainer hook failed", "container", "config"),
    ],
)
def test_a_container_that_cannot_be_created_for_a_while_is_a_failure(
    reason: str, message: str, wait: str, cause: str
) -> None:
    waiting = pod(containerStatuses=container({"waiting": {"reason": reason, "message": message}}))
    seen = read_workload(deployment(), [waiting])
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.PREPARING, wait, message)
    seen = read_workload(deployment(), [waiting], waited=LASTING)
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, cause, message)


def test_an_image_that_runs_as_root_never_will() -> None:
    for message in ("container has runAsNonRoot and image will run as root", "breaks non-root policy"):
        refused = {"waiting": {"reason": "CreateContainerConfigError", "message": message}}
        seen = read_workload(deployment(), [pod(containerStatuses=container(refused))])
        assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "root_image", message)


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[models], unattached volumes=[models]: "
            "timed out waiting for the condition",
            "mount",
        ),
        ("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"', "volume_used"),
        ("FailedMount", 'MountVolume.SetUp failed for volume "x" : configmap "y" not found', "config"),
        ("FailedCreatePodSandBox", "Failed to create pod sandbox: rpc error: failed to setup net", "sandbox"),
        ("NetworkNotReady", "network is not ready", "sandbox"),
        ("FailedPrepareDynamicResources", "no driver", "start"),
    ],
)
@pytest.mark.parametrize("statuses", [[], container({"waiting": {"reason": "ContainerCreating"}})])
def test_what_holds_a_container_up_is_shown_while_it_is_not_created(
    reason: str, message: str, cause: str, statuses: list[Json]
) -> None:
    told = event(reason, message)
    held = pod_state(pod(containerStatuses=statuses), told)
    assert (held.phase, held.cause, held.evidence) == (Phase.PREPARING, cause, message)
    assert pod_state(pod(containerStatuses=statuses)).cause == ""
    running = pod_state(pod(containerStatuses=container({"running": {"startedAt": stamp(3)}})), told)
    assert (running.phase, running.cause) == (Phase.LOADING, "")


def test_an_image_is_being_pulled_only_while_it_is() -> None:
    creating = pod(containerStatuses=container({"waiting": {"reason": "ContainerCreating"}}))
    assert pod_state(creating).phase is Phase.PREPARING
    assert pod_state(creating, event("Pulling")).phase is Phase.PULLING
    assert pod_state(creating, event("Pulling"), event("Pulled", minute=3)).phase is Phase.PREPARING
    assert pod_state(creating, event("Pulled", minute=2)).phase is Phase.PREPARING


def ended(code: int = 1, minute: int = 4, reason: str = "Error", message: str = "") -> Json:
    """The end of a run that began a minute before."""
    stamps = {"startedAt": stamp(minute - 1), "finishedAt": stamp(minute)}
    return {"terminated": {"reason": reason, "exitCode": code, "message": message, **stamps}}


CRASHED = ended(message="INFO x\nValueError: no\n\n")
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
RUNNING = {"running": {"startedAt": stamp(5)}}


@pytest.mark.parametrize(
    ("now", "last", "restarts", "ends"),
    [
        (CRASHED, None, 0, 1),
        (BACK_OFF, CRASHED, 0, 1),
        (RUNNING, CRASHED, 1, 1),
        (BACK_OFF, CRASHED, 1, 2),
        (RUNNING, CRASHED, 2, 2),
        (BACK_OFF, CRASHED, 6, 7),
    ],
)
def test_one_end_is_another_try_and_two_are_a_failure_until_it_is_ready(
    now: Json, last: Json | None, restarts: int, ends: int
) -> None:
    seen = read_workload(deployment(), [pod(containerStatuses=container(now, last, restarts))])
    assert (seen.ends, seen.last_end and seen.last_end.cause) == (ends, "crashed")
    if ends > 1:
        assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "crashed", "ValueError: no")
        assert seen.since == BEGUN + timedelta(minutes=4)
    else:
        assert seen.phase is (Phase.LOADING if "running" in now else Phase.PREPARING)
        assert seen.cause == ("" if "running" in now else "restart")


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (0, "Completed", "ended_by_itself"),
        (1, "Error", "crashed"),
        (2, "Error", "crashed"),
        (126, "Error", "not_executable"),
        (127, "Error", "no_program"),
        (128, "StartError", "not_started"),
        (134, "Error", "aborted"),
        (137, "OOMKilled", "container_oomkilled"),
        (137, "Error", "killed"),
        (139, "Error", "segfault"),
        (143, "Error", "terminated"),
    ],
)
def test_exit_codes_have_names(code: int, reason: str, cause: str) -> None:
    crashed = pod(containerStatuses=container(BACK_OFF, ended(code, reason=reason), 1))
    seen = read_workload(deployment(), [crashed])
    assert seen.last_end and (seen.cause, seen.last_end.exit_code) == (cause, code)


@pytest.mark.parametrize(
    ("probe", "cause"), [("startup", "not_ready_in_time"), ("liveness", "stopped_answering")]
)
@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_container_that_a_probe_killed_is_told_apart(probe: str, cause: str, code: int) -> None:
    killing = event("Killing", f"Container vllm failed {probe} probe, will be restarted", minute=4)
    killed = pod(containerStatuses=container(RUNNING, ended(code), 2))
    assert read_workload(deployment(), [killed], killing).cause == cause
    later = pod(containerStatuses=container(RUNNING, ended(139, minute=9), 2))
    assert read_workload(deployment(), [later], killing).cause == "segfault"


def test_a_container_that_a_probe_has_given_up_is_being_ended_and_does_not_load() -> None:
    killing = event("Killing", "Container vllm failed startup probe, will be restarted", minute=6)
    seen = read_workload(deployment(), [pod(containerStatuses=container(RUNNING))], killing)
    assert (seen.phase, seen.cause, seen.ends) == (Phase.LOADING, "too_slow", 0)
    before = event("Killing", "Container vllm failed startup probe, will be restarted", minute=4)
    again = pod(containerStatuses=container(RUNNING, ended(137), 1))
    assert read_workload(deployment(), [again], before).cause == ""


def test_a_probe_that_killed_is_known_by_the_time_where_its_event_was_dropped() -> None:
    killed = pod(containerStatuses=container(RUNNING, ended(137), 2))  # it ran for a minute
    killed["spec"]["containers"][0]["startupProbe"] = {"periodSeconds": 1, "failureThreshold": 50}
    assert read_workload(deployment(), [killed]).cause == "not_ready_in_time"
    killed["spec"]["containers"][0]["startupProbe"] = {"periodSeconds": 1, "failureThreshold": 3600}
    assert read_workload(deployment(), [killed]).cause == "killed"


def known(number: int, run: str, cause: str = "cuda_oom", minute: int = 3, **more: Any) -> Ending:
    """An end as it is written down."""
    fields = {"at": BEGUN + timedelta(minutes=minute), "exit_code": 1, "evidence": "CUDA", "log_read": True}
    return Ending(number=number, run=run, cause=cause, **(fields | more))


def test_the_cause_that_a_log_gave_stands_until_it_ends_otherwise() -> None:
    record = RECORD.changed(last_end=known(2, "uid-llm-tiny-1/1", alike=2))
    same = pod(containerStatuses=container(BACK_OFF, ended(1, minute=6), 2))
    seen = read_workload(deployment(record=record), [same])
    assert seen.last_end and (seen.ends, seen.cause, seen.evidence) == (3, "cuda_oom", "CUDA")
    assert (seen.last_end.alike, seen.last_end.log_read) == (3, False)
    other = pod(containerStatuses=container(BACK_OFF, ended(139, minute=6), 2))
    seen = read_workload(deployment(record=record), [other])
    assert seen.last_end and (seen.ends, seen.cause, seen.last_end.alike) == (3, "segfault", 1)
    nothing_new = pod(containerStatuses=container(BACK_OFF, ended(1, minute=3), 1))
    assert read_workload(deployment(record=record), [nothing_new]).last_end == record.last_end


def test_what_crashes_after_a_drain_was_not_drained_again() -> None:
    record = RECORD.changed(last_end=known(1, "uid-gone/0", "drained", exit_code=137))
    crashed = pod(containerStatuses=container(BACK_OFF, ended(137, minute=6), 0))
    seen = read_workload(deployment(record=record), [crashed])
    assert (seen.phase, seen.cause, seen.ends) == (Phase.FAILED, "killed", 2)


def test_ends_are_counted_over_pods_that_are_replaced_and_over_those_that_are_gone() -> None:
    dead = [
        pod(name=n, phase="Failed", reason="Evicted", message=n, containerStatuses=container(ended(137, m)))
        for m, n in ((3, "a"), (5, "b"))
    ]
    again = pod(name="c", minute=6, containerStatuses=container({"waiting": {"reason": "ContainerCreating"}}))
    seen = read_workload(deployment(), [*dead, again])
    assert (seen.phase, seen.cause, seen.evidence, seen.ends) == (Phase.FAILED, "evicted", "b", 2)
    record = RECORD.changed(last_end=known(7, "uid-gone/0", "evicted", minute=4, alike=7))
    seen = read_workload(deployment(record=record), [dead[1], again])
    assert seen.last_end and (seen.ends, seen.last_end.alike) == (8, 8)
    assert read_workload(deployment(record=record), [dead[0], again]).ends == 7


def test_a_model_that_was_ready_may_end_once_again() -> None:
    record = RECORD.changed(ready_at=BEGUN, last_end=known(3, "uid-llm-tiny-1/2").forgiven())
    running = pod(containerStatuses=container(RUNNING, ended(), 3))
    assert read_workload(deployment(record=record), [running]).phase is Phase.LOADING
    once = pod(containerStatuses=container(RUNNING, ended(minute=8), 4))
    seen = read_workload(deployment(record=record), [once])
    assert (seen.phase, seen.ends) == (Phase.LOADING, 1)
    twice = pod(containerStatuses=container(RUNNING, ended(minute=8), 5))
    assert read_workload(deployment(record=record), [twice]).phase is Phase.FAILED


def test_each_replica_may_end_once() -> None:
    pods = [pod(name=n, containerStatuses=container(RUNNING, ended(), 1)) for n in "ab"]
    assert read_workload(deployment(replicas=2), pods).phase is Phase.LOADING


def test_ends_of_replicas_that_crash_in_turns_are_counted_once() -> None:
    record, minute_of = RECORD, {"a": 0, "b": 0}
    dead = pod(name="z", phase="Failed", reason="Evicted", containerStatuses=container(ended(137, minute=2)))
    for minute, name in enumerate("ababab", 3):
        minute_of[name] = minute
        pods = [
            pod(name=n, containerStatuses=container(BACK_OFF, ended(minute=last), (last - 3) // 2))
            for n, last in minute_of.items()
            if last
        ]
        seen = read_workload(deployment(replicas=2, record=record), [dead, *pods])
        record = record.changed(last_end=seen.last_end)
        assert seen.ends == minute - 1
    assert seen.last_end and (seen.last_end.run, seen.last_end.others) == ("uid-b/2", ("uid-a/2",))


def test_a_model_that_answered_before_and_does_not_now_is_no_new_start() -> None:
    started = container(RUNNING)
    started[0]["started"] = True
    record = RECORD.changed(ready_at=BEGUN)

    def unready_since(minute: int) -> Workload:
        told = {"type": "Ready", "status": "False", "lastTransitionTime": stamp(minute)}
        return read_workload(deployment(record=record), [pod(conditions=[told], containerStatuses=started)])

    assert (unready_since(8).phase, unready_since(8).cause) == (Phase.LOADING, "unready")
    assert unready_since(8).since == BEGUN + timedelta(minutes=8)  # and not since its container began
    assert unready_since(4).cause == ""  # a pod in the place of another is about to answer


def test_an_engine_that_answers_nonsense_has_failed() -> None:
    nonsense = known(1, "uid-llm-tiny-1/0", "garbled_answers", minute=8, evidence="!!!")  # by another clock
    seen = read_workload(deployment(record=RECORD.changed(last_end=nonsense)), [pod(ready=True)])
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "garbled_answers", "!!!")
    record = RECORD.changed(last_end=nonsense.forgiven())
    assert read_workload(deployment(record=record), [pod(ready=True)]).phase is Phase.READY
    record = RECORD.changed(last_end=nonsense)
    again = pod(ready=True, containerStatuses=container(RUNNING, ended(minute=8), 1))
    seen = read_workload(deployment(record=record), [again])
    assert (seen.phase, seen.ends) == (Phase.READY, 1)  # that run is over, and was told


def test_what_ran_for_days_has_failed_since_it_crashed_and_not_since_it_was_made() -> None:
    unready = [{"type": "Ready", "status": "False", "lastTransitionTime": stamp(40)}]
    pull = container({"waiting": {"reason": "ImagePullBackOff"}})
    cases = [
        (pod(containerStatuses=container(BACK_OFF, ended(minute=41), 2), conditions=unready), 41),
        (pod(containerStatuses=container(ended(minute=41), None, 2), conditions=unready), 41),
        (pod(containerStatuses=pull, conditions=unready), 40),
        (pod(containerStatuses=pull, minute=5), 5),
    ]
    for shown, minute in cases:
        seen = read_workload(deployment(), [shown], waited=LASTING)
        assert (seen.phase, seen.since) == (Phase.FAILED, BEGUN + timedelta(minutes=minute)), shown


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "memory_pressure"),
        ({"reason": "Evicted", "message": "The node was low on resource: pids."}, "pid_pressure"),
        ({"reason": "Evicted", "message": "The node was low on resource: inodes."}, "disk_pressure"),
        ({"reason": "Evicted", "message": "Usage of EmptyDir volume exceeds the limit."}, "disk_limit"),
        ({"reason": "Evicted", "message": "something new"}, "evicted"),
        (
            {"reason": "UnexpectedAdmissionError", "message": "Allocate failed due to x, unexpected"},
            "gpu_lost",
        ),
        ({"reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"}, "node_full"),
        ({"reason": "OutOfnvidia.com/gpu", "message": "Node didn't have enough resource"}, "node_full"),
        ({"reason": "NodeShutdown", "message": "Node is in progress of shutting down"}, "node_shutdown"),
        (
            {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
            "node_shutdown",
        ),
        ({"reason": "Preempting", "message": "Preempted in order to admit critical pod"}, "preempted"),
        ({"reason": "NodeAffinity", "message": "Predicate NodeAffinity failed"}, "node_refused"),
        (
            {
                "message": "",
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
                ],
            },
            "node_lost",
        ),
    ],
)
def test_a_pod_that_its_node_ended_says_how(status: Json, cause: str) -> None:
    seen = read_workload(deployment(), [pod(phase="Failed", minute=3, **status)])
    assert seen.last_end and (seen.last_end.cause, seen.last_end.evidence) == (cause, status["message"])
    assert (seen.phase, seen.ends) == (Phase.SCHEDULING, 1)


def test_a_ready_pod_is_ready_since_its_condition_says_so() -> None:
    state = pod_state(pod(ready=True), event("FailedMount", "an old warning"))
    assert (state.phase, state.since, state.cause) == (Phase.READY, BEGUN + timedelta(minutes=9), "")


def test_a_pod_that_ends_does_not_answer_and_a_restart_makes_another_server() -> None:
    first = pod(ready=True, containerStatuses=container({"running": {}}))
    ending = pod(ready=True)
    ending["metadata"]["deletionTimestamp"] = stamp(10)
    assert is_ready(first) and not is_ready(ending) and not is_ready(pod())
    again = pod(ready=True, containerStatuses=container({"running": {}}, restarts=1))
    assert (server_id(first), server_id(again)) == ("uid-llm-tiny-1/0", "uid-llm-tiny-1/1")


def test_the_phase_is_that_of_the_pod_that_is_furthest() -> None:
    pods = [pod(name="a"), pod(name="b", ready=True, node="gpu-2"), unplaced("0/3: 3 Insufficient cpu")]
    seen = read_workload(deployment(replicas=3), pods)
    assert (seen.phase, seen.ready_replicas, seen.nodes) == (Phase.READY, 1, ("gpu-1", "gpu-2"))
    assert (seen.name, seen.replicas, seen.version, seen.record) == ("tiny", 3, "7", RECORD)


def test_warnings_reach_the_pod_that_they_are_about() -> None:
    told = event("FailedMount", "no such volume"), event("FailedMount", "not this", about="llm-other-1")
    seen = read_workload(deployment(), [pod()], *told)
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.PREPARING, "mount", "no such volume")


def test_secrets_in_what_a_pod_tells_are_hidden_and_it_is_cut() -> None:
    told = f"401 for token hf_{'a' * 34} {'x' * 1000}"
    waiting = {"waiting": {"reason": "ErrImagePull", "message": told}}
    seen = read_workload(deployment(), [pod(containerStatuses=container(waiting))])
    assert "hf_aaaa" not in seen.evidence and len(seen.evidence) <= 400


def test_a_secret_that_is_cut_is_hidden_too() -> None:
    told = f"{'x' * 340} https://ada:{'p' * 90}@registry.example/v2: 401"
    pulls = container({"waiting": {"reason": "ErrImagePull", "message": told}})
    seen = read_workload(deployment(), [pod(containerStatuses=pulls)])
    assert "https://ada:•••" in seen.evidence and "pp" not in seen.evidence
    seen = read_workload(deployment(), [pod(containerStatuses=container(ended(message=told)))])
    assert (
        seen.last_end and "https://ada:•••" in seen.last_end.evidence and "pp" not in seen.last_end.evidence
    )


def test_a_lost_node_takes_its_model_unless_another_replica_lives_elsewhere() -> None:
    lost, elsewhere = pod(name="a", ready=True), pod(name="b", ready=True, node="gpu-2")
    seen = read_workload(deployment(), [lost], lost={"gpu-1"})
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "node_lost", "gpu-1")
    assert read_workload(deployment(replicas=2), [lost, elsewhere], lost={"gpu-1"}).phase is Phase.READY


def test_without_replicas_it_drains_until_its_pods_are_gone_then_it_sleeps_or_waits_in_line() -> None:
    ending = pod(ready=True)
    ending["metadata"]["deletionTimestamp"] = stamp(10)
    seen = read_workload(deployment(replicas=0), [ending])
    assert (seen.phase, seen.ending_since) == (Phase.DRAINING, BEGUN + timedelta(minutes=10))
    assert read_workload(deployment(replicas=0), []).phase is Phase.ASLEEP
    queued = RECORD.changed(queued_since=BEGUN)
    seen = read_workload(deployment(replicas=0, record=queued), [])
    assert (seen.phase, seen.since) == (Phase.QUEUED, BEGUN)


def test_what_sleeps_stays_available_and_its_record_tells_since_when() -> None:
    available = {"type": "Available", "status": "True", "lastTransitionTime": stamp(9)}

    def since(state: SleepState | None, **changes: Any) -> datetime:
        record = RECORD.changed(sleep_state=state, **changes)
        return read_workload(deployment(replicas=0, record=record, conditions=[available]), []).since

    def at(minute: int) -> datetime:
        return BEGUN + timedelta(minutes=minute)

    unknown = SleepState(reason=SleepReason.UNKNOWN)
    assert since(unknown.changed(slept_at=at(40))) == at(40)
    assert since(unknown.changed(slept_at=at(5))) == at(9)  # it was ready again after that
    assert since(None) == since(unknown) == at(9)
    assert since(SleepState(reason=SleepReason.IDLE, last_activity=at(20))) == at(20)
    assert since(unknown, last_uses={"eve": LastUse(who="Eve", at=at(21))}) == at(21)
    assert since(None, start_requested_at=at(22)) == at(22)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2',
            "quota",
        ),
        ('Internal error occurred: failed calling webhook "no.pods.example.org"', "admission_denied"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', "admission_denied"),
    ],
)
def test_a_pod_that_could_not_be_made_says_why(message: str, cause: str) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    seen = read_workload(deployment(conditions=[condition]), [])
    waits = cause == "quota"  # pods that end count until they are gone
    assert (seen.phase is Phase.SCHEDULING, seen.cause, seen.evidence) == (waits, cause, message)
    seen = read_workload(deployment(conditions=[condition]), [], waited=LASTING)
    assert (seen.phase, seen.cause) == (Phase.FAILED, "quota_exceeded" if waits else cause)


def test_before_its_first_pod_it_is_being_scheduled() -> None:
    assert read_workload(deployment(), []).phase is Phase.SCHEDULING


def test_annotations_that_somebody_broke_are_an_error() -> None:
    broken = deployment()
    broken["metadata"]["annotations"]["llm-bot/spec"] = "{nonsense"
    with pytest.raises(ValueError):
        read_workload(broken, [])


SIDECAR = {"name": "istio-proxy", "state": {"running": {"startedAt": stamp(2)}}, "restartCount": 7}


@pytest.mark.parametrize(
    "ours",
    [
        container({"waiting": {"reason": "PodInitializing"}}),
        container({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
        container({"running": {"startedAt": stamp(3)}}),
        container({"waiting": {"reason": "CrashLoopBackOff"}}, CRASHED, restarts=3),
    ],
    ids=lambda statuses: next(iter(statuses[0]["state"].items()))[0],
)
def test_containers_that_a_cluster_puts_before_ours_change_nothing(ours: list[dict[str, Any]]) -> None:
    alone, after = pod(containerStatuses=ours), pod(containerStatuses=[SIDECAR, *ours])
    after["spec"]["containers"].insert(0, {"name": "istio-proxy"})
    after["status"]["initContainerStatuses"] = [{"name": "istio-init", "state": {"terminated": {}}}]
    assert pod_state(after) == pod_state(alone)
    assert server_id(after) == server_id(alone)
    assert pod_fields.gpus_of(after) == pod_fields.gpus_of(alone) == 1
    crashed = SIDECAR | {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": CRASHED}
    assert pod_state(pod(containerStatuses=[crashed, *ours])) == pod_state(alone)


def test_a_container_that_the_kubelet_has_not_told_of_yet_is_not_there_yet() -> None:
    assert pod_state(pod(containerStatuses=[SIDECAR])).phase is Phase.PREPARING


def test_pods_that_a_fast_clock_ended_are_counted_once() -> None:
    """The one whose end is written down says which; the others once counted again with every look."""
    rejected: dict[str, Any] = {"phase": "Failed", "reason": "Evicted", "message": "low on resource: memory"}
    unready = [{"type": "Ready", "status": "False", "lastTransitionTime": stamp(40)}]
    dead = [pod(name=name, minute=2, conditions=unready, **rejected) for name in ("a", "b", "c")]
    seen = last_ending(dead, {}, None, container="vllm", now=BEGUN + timedelta(minutes=3))
    assert seen and seen.number == 3
    for minute in range(4, 9):
        again = last_ending(dead, {}, seen, container="vllm", now=BEGUN + timedelta(minutes=minute))
        assert again == seen


def test_a_node_whose_clock_is_off_ends_nothing_in_the_future_and_nothing_unseen() -> None:
    now = BEGUN + timedelta(minutes=20)
    ahead = pod(name="a", minute=10, containerStatuses=container(BACK_OFF, ended(minute=25)))
    seen = read_workload(deployment(), [ahead], now=now)
    assert seen.last_end and (seen.ends, seen.last_end.at) == (1, now)
    behind = pod(name="b", node="gpu-2", minute=21, containerStatuses=container(BACK_OFF, ended(minute=16)))
    record = RECORD.changed(last_end=seen.last_end)
    later = read_workload(deployment(record=record), [behind], now=now + timedelta(minutes=2))
    assert later.last_end and (later.ends, later.last_end.at) == (2, BEGUN + timedelta(minutes=21))
    assert card(later, now).text is not None


def test_a_node_whose_clock_is_ahead_makes_nothing_ready_in_the_future() -> None:
    now = BEGUN + timedelta(minutes=5)  # it has been ready since minute 9, as its node says
    first = as_before(read_workload(deployment(), [pod(ready=True)], now=now), None, now)
    assert first.since == now
    again = read_workload(deployment(), [pod(ready=True)], now=now)
    assert as_before(again, first, now + timedelta(minutes=1)).since == now
