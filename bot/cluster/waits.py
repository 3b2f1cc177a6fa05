"""Why a pod has no node yet, or a node no container: the name of a sentence `[waits]`."""

import re
from datetime import timedelta

PATIENCE = timedelta(seconds=30)
"""How long a wait that often mends itself may last until it is a failure."""
MENDS = {
    "config": "config_missing",
    "container": "config",
    "pull": "image_pull",
    "runtime": "runtime_down",
    "quota": "quota_exceeded",
}
"""Waits that often mend themselves, and the cause of the failure that they are when they last: a Secret that
the kubelet has not seen yet, a registry that does not answer at once, GPUs that a pod that ends still
counts."""
IMAGE = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
_NOT_PULLED = (
    ("image_platform", re.compile(r"no match for platform|no matching manifest")),
    ("image_denied", re.compile(r"denied|unauthorized|authoriz|authentic|401|403 Forbidden", re.IGNORECASE)),
    ("image_limit", re.compile(r"429|toomanyrequests|rate ?limit", re.IGNORECASE)),
    ("image_absent", re.compile(r"not found$|manifest unknown", re.IGNORECASE)),
)
"""Causes by what a registry says of an image that cannot be pulled; the first that is found."""
MENDING = {*MENDS, *MENDS.values(), *(cause for cause, _ in _NOT_PULLED)}
"""These waits, and what they are called when they have lasted."""
NEVER_PULLED = {"InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"}
CONFIG = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PreStartHookError",
}
"""Why a container waits, as kubelets up to 1.37 call it."""
_ABSENT = re.compile(
    r"(secret|configmap) \"[^\"]*\" not found|couldn't find key|failed to sync", re.IGNORECASE
)
"""What a kubelet says of a Secret or ConfigMap that it does not find, or has not read yet."""
_AS_ROOT = re.compile(r"non-root policy|runAsNonRoot|run as root")
_NO_RUNTIME = re.compile(r"connection error|\.sock\b")
_TAKEN = re.compile(r"already used by pod|Multi-Attach|already exclusively attached")
"""What is said of a volume that only one node may have, and another one has."""
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: ErrImagePull: )?')
_TAINTS = re.compile(r"\{[^}]*\}")
"""Older schedulers name them, and people choose the names: `had untolerated taint {volume-test: yes}`."""
_PREEMPTION = re.compile(r"\bpreemption: .*", re.DOTALL)
_GPU = "Insufficient nvidia.com/gpu"
_ONLY_GPUS = re.compile(r"0/(\d+) nodes are available: \1 Insufficient nvidia\.com/gpu\.\s*$")
"""What the scheduler says when every node lacks GPUs, and nothing else is missing anywhere."""
_UNMET = (
    ("volume_node", re.compile(r"volume node affinity conflict|PersistentVolume's node affinity")),
    ("volume", re.compile(r"volume|\bpvc?\(s\)|free storage|available disk|storage ?class", re.IGNORECASE)),
    ("cpu", re.compile(r"Insufficient cpu")),
    ("memory", re.compile(r"Insufficient memory")),
    ("disk", re.compile(r"Insufficient ephemeral-storage")),
    ("pods", re.compile(r"Too many pods")),
    ("cordoned", re.compile(r"were unschedulable")),
    ("taints", re.compile(r"taint")),
)
"""What a pod misses, by what the scheduler says of nodes: the first that is found. Some reasons speak of
pvc(s), storage or a disk alone."""


def unmet_need(message: str, *, gpus_free: bool | None) -> str:
    """What a pod misses that the scheduler finds no node for; empty if it is GPUs alone.

    `gpus_free`: a node has as many free as it needs; None: that is not known. A cluster has nodes without
    GPUs, so that nearly every message says that some lack them: it counts only if none has them. Where all
    lack them, GPUs that are free now were freed since: the scheduler has yet to look again."""
    said = _PREEMPTION.sub("", message)
    if _ONLY_GPUS.match(said) or (_GPU in said and not gpus_free):
        return ""
    said = _TAINTS.sub("taint", said)
    return next((need for need, pattern in _UNMET if pattern.search(said)), "node")


def image_wait(reason: str, message: str, told: str) -> tuple[str, str]:
    """The wait of a container without an image, and what is said of it.

    Trying and backing off take turns: the same is shown of both. Older kubelets say no more than that while
    they back off, so that the last pull that failed, as their events have `told` it, says why."""
    if reason == "ImageInspectError" and _NO_RUNTIME.search(message):
        return "runtime", message
    return "pull", _BACK_OFF.sub("", message) or told or message


def config_wait(message: str) -> str:
    """The wait of a container that cannot be created; empty: it never will be, as its image runs as root."""
    if _AS_ROOT.search(message):
        return ""
    return "config" if _ABSENT.search(message) else "container"


def volume_wait(message: str) -> str:
    """The wait of a pod that lacks a volume."""
    if _TAKEN.search(message):
        return "volume_used"
    return "config" if _ABSENT.search(message) else "mount"


def lasting_cause(wait: str, message: str) -> str:
    """The cause of the failure that a wait of MENDS is when it lasts, by what was said of it."""
    if wait == "pull":
        return next((cause for cause, said in _NOT_PULLED if said.search(message)), MENDS[wait])
    return MENDS[wait]
