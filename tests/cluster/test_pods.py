"""What pods and Deployments tell, in the words of older schedulers and kubelets and in those of 1.37."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from bot.cluster import pods as cluster_pods
from bot.cluster.pods import is_ready
from bot.core.deployment.record import LastUse, SleepReason, SleepState
from bot.core.deployment.workload import Phase
from tests.cluster.objects import BEGUN, RECORD, container, deployment, pod, stamp, unplaced

pod_state = partial(cluster_pods.pod_state, container="vllm")
read_workload = partial(cluster_pods.read_workload, container="vllm")
server_id = partial(cluster_pods.server_id, container="vllm")
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
        "0/3 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, "
        f"2 Insufficient nvidia.com/gpu.{PREEMPTION}",
    ],
)
def test_a_pod_that_only_lacks_gpus_waits_in_line(message: str) -> None:
    state = pod_state(unplaced(message))
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
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, "volume", message)


@pytest.mark.parametrize(
    "reasons",
    [
        "3 node(s) had taint {nvidia.com/gpu: }, that the pod didn't tolerate.",
        f"3 node(s) had untolerated taint {{nvidia.com/gpu: }}.{OLD_PREEMPTION}",
        f"3 node(s) had untolerated taint {{volume-test: yes}}.{OLD_PREEMPTION}",
        f"3 node(s) had untolerated taint(s).{PREEMPTION}",
        "3 node(s) didn't match node selector.",
        "3 node(s) didn't match Pod's node affinity.",
        f"3 node(s) didn't match Pod's node affinity/selector.{PREEMPTION}",
        f"3 node(s) were unschedulable.{PREEMPTION}",
        f"3 Insufficient cpu.{OLD_PREEMPTION}",
        f"3 Too many pods.{PREEMPTION}",
    ],
)
def test_a_pod_that_may_run_nowhere_says_so(reasons: str) -> None:
    message = f"0/3 nodes are available: {reasons}"
    state = pod_state(unplaced(message))
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, "node", message)


def test_a_scheduler_that_cannot_judge_is_believed_of_storage_alone() -> None:
    missing = 'failed to find storage class "fast"'
    state = pod_state(unplaced(missing, "SchedulerError"))
    assert (state.phase, state.cause, state.evidence) == (Phase.SCHEDULING, "volume", missing)
    passing = pod_state(unplaced("etcdserver: request timed out", "SchedulerError"))
    assert (passing.phase, passing.cause, passing.evidence) == (Phase.SCHEDULING, "", "")


def test_a_pod_that_nobody_has_looked_at_is_being_scheduled() -> None:
    assert pod_state(pod(node="")).phase is Phase.SCHEDULING


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "rpc error: code = Unknown desc = Error response from daemon: pull access denied"),
        ("ImagePullBackOff", 'Back-off pulling image "ghcr.io/none/none:v1"'),
        (
            "ImagePullBackOff",
            'Back-off pulling image "ghcr.io/none/none:v1": ErrImagePull: failed to pull and unpack image '
            '"ghcr.io/none/none:v1": failed to resolve image: dial tcp: lookup ghcr.io: i/o timeout',
        ),
        ("InvalidImageName", 'Failed to apply default image tag "VLLM/Bad:v1": couldn\'t parse image name'),
        ("ErrImageNeverPull", 'Container image "absent:v1" is not present with pull policy of Never'),
        ("ImageInspectError", 'Failed to inspect image "absent:v1"'),
        ("RegistryUnavailable", "registry is not available"),
        ("SignatureValidationFailed", "SignatureValidationFailed: signature is not valid"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_a_failure(reason: str, message: str) -> None:
    waiting = {"waiting": {"reason": reason, "message": message}}
    state = pod_state(pod(containerStatuses=container(waiting)))
    assert (state.phase, state.cause, state.evidence) == (Phase.FAILED, "image_pull", message)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", 'secret "absent" not found'),
        ("CreateContainerError", "context deadline exceeded"),
        ("RunContainerError", "failed to create containerd task: exec: no such file or directory"),
        ("PreCreateHookError", "Internal PreCreateContainer hook failed"),
        ("PreStartHookError", "Internal PreStartContainer hook failed"),
    ],
)
def test_a_container_that_cannot_be_created_is_a_failure(reason: str, message: str) -> None:
    waiting = {"waiting": {"reason": reason, "message": message}}
    state = pod_state(pod(containerStatuses=container(waiting)))
    assert (state.phase, state.cause, state.evidence) == (Phase.FAILED, "config", message)


@pytest.mark.parametrize(
    "message",
    [
        "Unable to attach or mount volumes: unmounted volumes=[models], unattached volumes=[models home]: "
        "timed out waiting for the condition",
        "Unable to attach or mount volumes: unmounted volumes=[models], unattached volumes=[], failed to "
        "process volumes=[]: context deadline exceeded",
        'MountVolume.SetUp failed for volume "models" : mount failed: exit status 32',
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox",
    ],
)
@pytest.mark.parametrize("statuses", [[], container({"waiting": {"reason": "ContainerCreating"}})])
def test_what_holds_a_container_up_is_shown_while_it_is_not_created(
    message: str, statuses: list[dict[str, Any]]
) -> None:
    held = pod_state(pod(containerStatuses=statuses), message)
    assert (held.phase, held.cause, held.evidence) == (Phase.PULLING, "start", message)
    assert pod_state(pod(containerStatuses=statuses)).cause == ""
    running = pod_state(pod(containerStatuses=container({"running": {"startedAt": stamp(3)}})), message)
    assert (running.phase, running.cause) == (Phase.LOADING, "")


CRASHED = {"terminated": {"reason": "Error", "exitCode": 1, "message": "INFO x\nValueError: no\n\n"}}
OUT_OF_MEMORY = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "message": "INFO loading\n"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}


@pytest.mark.parametrize(
    ("now", "last", "restarts", "cause", "evidence"),
    [
        (BACK_OFF, CRASHED, 1, "crashed", "ValueError: no"),
        (BACK_OFF, OUT_OF_MEMORY, 6, "container_oomkilled", "INFO loading"),
        (OUT_OF_MEMORY, None, 2, "container_oomkilled", "INFO loading"),
        ({"running": {"startedAt": stamp(3)}}, CRASHED, 2, "crashed", "ValueError: no"),
    ],
)
def test_a_container_that_ends_again_and_again_is_a_failure(
    now: dict[str, dict[str, int | str]] | dict[str, dict[str, str]],
    last: dict[str, dict[str, int | str]] | None,
    restarts: int,
    cause: str,
    evidence: str,
) -> None:
    state = pod_state(pod(containerStatuses=container(now, last, restarts)))
    assert (state.phase, state.cause, state.evidence) == (Phase.FAILED, cause, evidence)


def test_what_ran_for_days_has_failed_since_it_crashed_and_not_since_it_was_made() -> None:
    unready = [{"type": "Ready", "status": "False", "lastTransitionTime": stamp(40)}]
    ended = {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": stamp(41)}}
    long_ago = {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": stamp(3)}}
    pull = container({"waiting": {"reason": "ImagePullBackOff"}})
    cases = [
        (pod(containerStatuses=container(BACK_OFF, ended, 2), conditions=unready), 41),
        (pod(containerStatuses=container(ended, None, 2), conditions=unready), 41),
        (pod(containerStatuses=container(BACK_OFF, CRASHED, 2), conditions=unready), 40),
        (pod(containerStatuses=pull, conditions=unready), 40),
        (pod(phase="Failed", containerStatuses=container({}, long_ago), conditions=unready), 40),
        (pod(phase="Failed", reason="Evicted", conditions=unready), 40),
        (pod(phase="Failed", containerStatuses=container(ended)), 41),
        (pod(containerStatuses=pull, minute=5), 5),
    ]
    for seen, minute in cases:
        state = pod_state(seen)
        assert (state.phase, state.since) == (Phase.FAILED, BEGUN + timedelta(minutes=minute)), seen


def test_one_crash_is_forgiven() -> None:
    running = {"running": {"startedAt": stamp(3)}}
    state = pod_state(pod(containerStatuses=container(running, CRASHED, restarts=1)))
    assert (state.phase, state.since) == (Phase.LOADING, datetime.fromisoformat(stamp(3)))


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("Evicted", "The node was low on resource: memory. ", "evicted"),
        (
            "Evicted",
            "Pod ephemeral local storage usage exceeds the total limit of containers 32Mi. ",
            "evicted",
        ),
        ("NodeShutdown", "Node is in progress of shutting down", "crashed"),
    ],
)
def test_a_pod_that_its_node_ended_says_how(reason: str, message: str, cause: str) -> None:
    state = pod_state(pod(phase="Failed", reason=reason, message=message))
    assert (state.phase, state.cause, state.evidence) == (Phase.FAILED, cause, message)


def test_a_ready_pod_is_ready_since_its_condition_says_so() -> None:
    state = pod_state(pod(ready=True), "an old warning")
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
    seen = read_workload(deployment(replicas=3), pods, {})
    assert (seen.phase, seen.ready_replicas, seen.nodes) == (Phase.READY, 1, ("gpu-1", "gpu-2"))
    assert (seen.name, seen.replicas, seen.version, seen.record) == ("tiny", 3, "7", RECORD)


def test_warnings_reach_the_pod_that_they_are_about() -> None:
    seen = read_workload(deployment(), [pod()], {"llm-tiny-1": "no such volume", "llm-other-1": "not this"})
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.PULLING, "start", "no such volume")


def test_secrets_in_what_a_pod_tells_are_hidden_and_it_is_cut() -> None:
    told = f"401 for token hf_{'a' * 34} {'x' * 1000}"
    waiting = {"waiting": {"reason": "ErrImagePull", "message": told}}
    seen = read_workload(deployment(), [pod(containerStatuses=container(waiting))], {})
    assert "hf_aaaa" not in seen.evidence and len(seen.evidence) <= 400


def test_a_replaced_pod_is_no_failure_and_the_last_of_those_that_all_failed_is() -> None:
    failed = [pod(name=n, phase="Failed", reason="Evicted", message=n, minute=m) for m, n in enumerate("ab")]
    assert read_workload(deployment(), [*failed, pod(name="c", ready=True)], {}).phase is Phase.READY
    seen = read_workload(deployment(), failed, {})
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "evicted", "b")


def test_a_lost_node_takes_its_model_unless_another_replica_lives_elsewhere() -> None:
    lost, elsewhere = pod(name="a", ready=True), pod(name="b", ready=True, node="gpu-2")
    seen = read_workload(deployment(), [lost], {}, lost={"gpu-1"})
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, "node_lost", "gpu-1")
    assert read_workload(deployment(replicas=2), [lost, elsewhere], {}, lost={"gpu-1"}).phase is Phase.READY


def test_without_replicas_it_drains_until_its_pods_are_gone_then_it_sleeps_or_waits_in_line() -> None:
    ending = pod(ready=True)
    ending["metadata"]["deletionTimestamp"] = stamp(10)
    seen = read_workload(deployment(replicas=0), [ending], {})
    assert (seen.phase, seen.ending_since) == (Phase.DRAINING, BEGUN + timedelta(minutes=10))
    assert read_workload(deployment(replicas=0), [], {}).phase is Phase.ASLEEP
    queued = RECORD.changed(queued_since=BEGUN)
    seen = read_workload(deployment(replicas=0, record=queued), [], {})
    assert (seen.phase, seen.since) == (Phase.QUEUED, BEGUN)


def test_what_sleeps_stays_available_and_its_record_tells_since_when() -> None:
    available = {"type": "Available", "status": "True", "lastTransitionTime": stamp(9)}

    def since(state: SleepState | None, **changes: Any) -> datetime:
        record = RECORD.changed(sleep_state=state, **changes)
        return read_workload(deployment(replicas=0, record=record, conditions=[available]), [], {}).since

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
            "quota_exceeded",
        ),
        ('Internal error occurred: failed calling webhook "no.pods.example.org"', "admission_denied"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', "admission_denied"),
    ],
)
def test_a_pod_that_could_not_be_made_says_why(message: str, cause: str) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    seen = read_workload(deployment(conditions=[condition]), [], {})
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.FAILED, cause, message)


def test_before_its_first_pod_it_is_being_scheduled() -> None:
    assert read_workload(deployment(), [], {}).phase is Phase.SCHEDULING


def test_annotations_that_somebody_broke_are_an_error() -> None:
    broken = deployment()
    broken["metadata"]["annotations"]["llm-bot/spec"] = "{nonsense"
    with pytest.raises(ValueError):
        read_workload(broken, [], {})


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
    assert cluster_pods.gpus_of(after) == cluster_pods.gpus_of(alone) == 1
    crashed = SIDECAR | {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": CRASHED}
    assert pod_state(pod(containerStatuses=[crashed, *ours])) == pod_state(alone)


def test_a_container_that_the_kubelet_has_not_told_of_yet_is_not_there_yet() -> None:
    assert pod_state(pod(containerStatuses=[SIDECAR])).phase is Phase.PULLING
