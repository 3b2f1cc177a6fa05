"""What people reported in public of models on their clusters, in the words of their kubelets and schedulers.

Each case names the issue that its words are from."""

from typing import Any

import pytest

from bot.cluster.pod_events import PodEvent
from bot.cluster.pods import PodSurroundings
from bot.cluster.pods import read_workload as read
from bot.cluster.waits import PATIENCE
from bot.core.deployment.workload import Phase, Workload
from tests.cluster.objects import Json, container, deployment, pod, stamp, unplaced

HOOK = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
    "failed: unable to start container process: error during container init: error running hook #0: error "
    "running hook: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: "
)
NO_SPACE = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
    'failed: unable to start container process: error during container init: error mounting "/a/resolv.conf" '
    'to rootfs at "/etc/resolv.conf": open /run/rootfs/etc/resolv.conf: no space left on device: unknown'
)
NO_FILE = NO_SPACE.replace("no space left on device", "no such file or directory")
NO_LIBRARY = (
    f"{HOOK}initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: "
    "no such file or directory: unknown"
)


def read_workload(*pods: Json, events: tuple[PodEvent, ...] = (), refused: str = "", **more: Any) -> Workload:
    """A model with these pods; or without one, as the API server has refused it."""
    condition = {"type": "ReplicaFailure", "status": "True", "message": refused}
    made = deployment(conditions=[condition] if refused else [])
    return read(made, pods, PodSurroundings("vllm", events={"llm-tiny-1": events}, **more))


def dying(code: int, reason: str = "Error", message: str = "") -> Json:
    """A pod whose container has ended four times."""
    last = {"exitCode": code, "reason": reason, "message": message}
    last |= {"startedAt": stamp(2), "finishedAt": stamp(3)}
    back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    return pod(containerStatuses=container(back_off, {"terminated": last}, 3))


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        pytest.param(NO_LIBRARY, "driver_or_cuda_mismatch", id="gpu-operator-511"),
        pytest.param(
            f"{HOOK}initialization error: nvml error: driver not loaded: unknown",
            "driver_or_cuda_mismatch",
            id="kubevirt-gpu-device-plugin-49",
        ),
        pytest.param(
            f"{HOOK}device error: no-gpu-has-128MiB-to-run: unknown device: unknown",
            "driver_or_cuda_mismatch",
            id="nvidia-container-toolkit-223",
        ),
        pytest.param(NO_SPACE, "node_disk_full", id="mybinder-deploy-2712"),
        pytest.param(NO_FILE, "not_started", id="a-mount-that-is-no-program"),
        pytest.param(
            'unable to start container process: exec: "vllm": stat vllm: no such file or directory',
            "no_program",
            id="a-program-that-is-not-there",
        ),
        pytest.param(
            "executable file `vllm` not found in $PATH: No such file or directory", "no_program", id="crun"
        ),
    ],
)
def test_a_container_that_cannot_start_is_not_blamed_on_its_image_alone(message: str, cause: str) -> None:
    seen = read_workload(dying(128, "StartError", message))
    assert (seen.phase, seen.cause) == (Phase.FAILED, cause)


def test_a_hook_that_fails_while_the_container_is_created_is_no_riddle() -> None:  # eclipse-che/che 21765
    message = "container create failed: error running hook #0: error running hook: exit status 137"
    shown = {"waiting": {"reason": "CreateContainerError", "message": message}}
    seen = read_workload(pod(containerStatuses=container(shown)), waited=PATIENCE)
    assert (seen.phase, seen.cause) == (Phase.FAILED, "driver_or_cuda_mismatch")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        pytest.param(132, "illegal_instruction", id="determined-3610"),
        pytest.param(135, "bus_error", id="vllm-1771"),
    ],
)
def test_a_signal_has_a_name(code: int, cause: str) -> None:
    seen = read_workload(dying(code))
    assert seen.last_end and (seen.cause, seen.last_end.log_read) == (cause, False)


PREFERRED = (
    "Pod was rejected: Allocate failed due to device plugin GetPreferredAllocation rpc failed with err: "
)


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        pytest.param(
            "TopologyAffinityError",
            "Pod was rejected: Resources cannot be allocated with Topology locality",
            "node_topology",
            id="pytorch-ci-infra-696",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            f"{PREFERRED}rpc error: code = Unknown desc = error getting list of preferred allocation "
            "devices: unable to get device link information: error calling nvml.Init: Unknown Error, which "
            "is unexpected",
            "device_plugin",
            id="k8s-device-plugin-1397",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            f"{PREFERRED}rpc error: code = Unknown desc = Unable to retrieve list of available devices: "
            "error creating nvml.Device 3: nvml: GPU is lost, which is unexpected",
            "gpu_lost",
            id="k8s-device-plugin-231",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            "Allocate failed due to can't allocate unregistered device nvidia.com/gpu, which is unexpected",
            "device_plugin",
            id="kubernetes-118559",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            "Pod Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
            "Requested: 1, Available: 0, which is unexpected",
            "gpu_lost",
            id="kubernetes-130145",
        ),
        pytest.param(
            "UnexpectedAdmissionError",
            "Allocate failed due to not enough cpus available to satisfy request, which is unexpected",
            "node_full",
            id="a-static-cpu-manager",
        ),
        pytest.param(
            "Evicted",
            'Usage of EmptyDir volume "dshm" exceeds the limit "64Mi". ',
            "shm_limit",
            id="llm-d-352",
        ),
        pytest.param(
            "Evicted",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10120387530, available: "
            "9166736Ki. Container llm was using 57900024Ki, request is 0, has larger consumption of "
            "ephemeral-storage",
            "disk_pressure",
            id="kubernetes-engine-samples-1581",
        ),
        pytest.param("Unheard", "Pod was rejected: nobody knows why", "pod_failed", id="any-other-reason"),
    ],
)
def test_a_pod_that_its_node_does_not_take_is_never_only_a_wait(
    reason: str, message: str, cause: str
) -> None:
    dead = [pod(name=f"llm-tiny-{n}", phase="Failed", reason=reason, message=message) for n in (1, 2)]
    seen = read_workload(*dead, pod(name="llm-tiny-3", node=""))
    assert (seen.phase, seen.cause, seen.ends) == (Phase.FAILED, cause, 2)


DIGEST = "sha256:a401ac429daee2fe11dd237f570a94067fd69ec126838af3bc82a4d57f11f8c"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        pytest.param(
            f'failed to pull and unpack image "x:1": failed commit on ref "layer-{DIGEST}": "layer-{DIGEST}" '
            "failed size validation: 6239744 != 17386982: failed precondition",
            "image_pull",
            id="save-cloud-1986",
        ),
        pytest.param(
            "failed to copy: read tcp 10.0.4.9:54290->104.16.101.215:443: read: connection reset by peer",
            "image_pull",
            id="a-port-with-429-in-it",
        ),
        pytest.param(
            "failed to register layer: Error processing tar file(exit status 1): write /x.rpm: no space left "
            "on device",
            "node_disk_full",
            id="tableau-server-in-kubernetes-14",
        ),
        pytest.param(
            "failed to extract layer: failed to get reader from content store: content digest sha256:77: "
            "not found",
            "image_pull",
            id="a-broken-store-of-the-node",
        ),
        pytest.param("unexpected status: 429 Too Many Requests", "image_limit", id="429"),
        pytest.param("unexpected status code 401", "image_denied", id="401"),
    ],
)
def test_a_registry_is_not_blamed_for_digests_ports_and_disks(message: str, cause: str) -> None:
    shown = {"waiting": {"reason": "ErrImagePull", "message": message}}
    seen = read_workload(pod(containerStatuses=container(shown)), waited=PATIENCE)
    assert (seen.phase, seen.cause) == (Phase.FAILED, cause)


def event(reason: str, message: str, minute: int) -> PodEvent:
    return PodEvent(f"{reason}.{minute}", "llm-tiny-1", reason, message, stamp(minute))


TAKEN = 'Multi-Attach error for volume "pvc-6d1de1c7" Volume is already used by pod(s) model-store-pod'
REFUSED = (
    'MountVolume.SetUp failed for volume "pvc-1" : mount failed: exit status 32 Output: mount.nfs: '
    "access denied by server while mounting 10.0.0.5:/models"
)
SYNC = 'MountVolume.SetUp failed for volume "x" : failed to sync configmap cache: timed out waiting'


@pytest.mark.parametrize(
    "summary",
    [
        pytest.param(
            "Unable to attach or mount volumes: unmounted volumes=[source], unattached volumes=[token "
            "source]: timed out waiting for the condition",
            id="kserve-3409",
        ),
        pytest.param(
            'Unable to mount volumes for pod "x": timeout expired waiting for volumes to attach or mount',
            id="AKS-884",
        ),
        pytest.param(
            "Unable to attach or mount volumes: unmounted volumes=[x]: context deadline exceeded", id="newer"
        ),
    ],
)
@pytest.mark.parametrize(
    ("reason", "why", "cause"),
    [("FailedAttachVolume", TAKEN, "volume_used"), ("FailedMount", REFUSED, "mount")],
)
def test_why_a_volume_is_missing_outlives_that_it_is(summary: str, reason: str, why: str, cause: str) -> None:
    told = event("FailedMount", SYNC, 1), event(reason, why, 2), event("FailedMount", summary, 4)
    seen = read_workload(pod(), events=told)
    assert (seen.phase, seen.cause, seen.evidence) == (Phase.PREPARING, cause, why)
    alone = read_workload(pod(), events=(told[0], told[2]))
    assert (alone.cause, alone.evidence) == ("mount", summary)


QUOTA = 'pods "x" is forbidden: exceeded quota: gpu, requested: {}, used: {}, limited: {}'


@pytest.mark.parametrize(
    ("message", "phase", "cause"),
    [
        pytest.param(
            'pods "sklearn-x" is forbidden: failed quota: kf-resource-quota: must specify memory',
            Phase.FAILED,
            "quota_unspecified",
            id="kserve-1242",
        ),
        pytest.param(
            QUOTA.format("limits.cpu=1,memory=9Gi", "limits.cpu=0,memory=0", "limits.cpu=500m,memory=10Gi"),
            Phase.FAILED,
            "quota_too_small",
            id="eidf-epcc-cluster-26",
        ),
        pytest.param(
            QUOTA.format(
                "requests.nvidia.com/gpu=4", "requests.nvidia.com/gpu=4", "requests.nvidia.com/gpu=4"
            ),
            Phase.SCHEDULING,
            "quota",
            id="a-quota-that-has-room-later",
        ),
    ],
)
def test_a_quota_that_will_never_do_is_no_wait(message: str, phase: Phase, cause: str) -> None:
    seen = read_workload(refused=message)
    assert (seen.phase, seen.cause, seen.evidence) == (phase, cause, message)


MASTER = "2 node(s) had taint {node-role.kubernetes.io/master: }, that the pod didn't tolerate"
CONTROL_PLANE = "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"


@pytest.mark.parametrize(
    ("reasons", "need"),
    [
        pytest.param(
            f"{MASTER}, 3 node(s) didn't match Pod's node affinity/selector.",
            "node",
            id="os_c_data_commons-170",
        ),
        pytest.param(
            f"{CONTROL_PLANE}, 1 node(s) had untolerated taint {{node.kubernetes.io/not-ready: }}.",
            "sick",
            id="a-node-that-is-not-ready",
        ),
        pytest.param(
            "1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.", "sick", id="no-disk-left"
        ),
        pytest.param(
            "1 node(s) had untolerated taint {node.kubernetes.io/unschedulable: }.", "cordoned", id="cordoned"
        ),
        pytest.param(f"{CONTROL_PLANE}.", "taints", id="the-only-node"),
        pytest.param(
            f"{MASTER}, 3 node(s) had taint {{nvidia.com/gpu: }}, that the pod didn't tolerate.",
            "taints",
            id="kubeflow-5275",
        ),
    ],
)
def test_taints_that_the_cluster_sets_itself_are_told_apart(reasons: str, need: str) -> None:
    seen = read_workload(unplaced(f"0/6 nodes are available: {reasons}"), has_room=lambda gpus: True)
    assert (seen.phase, seen.cause) == (Phase.SCHEDULING, need)
