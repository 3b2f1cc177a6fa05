"""Why a pod has no node yet, or a node no container: the end of a sentence's name `[card] waits_…`."""

import re
from datetime import timedelta

PATIENCE = timedelta(seconds=30)
"""How long a wait that often mends itself may last until it is a failure."""
MENDS = {"config": "config", "pull": "image_pull", "quota": "quota_exceeded"}
"""Waits that often mend themselves, and the cause of the failure that they are when they last: a Secret that
the kubelet has not seen yet, a registry that does not answer at once, GPUs that a pod that ends still
counts."""
IMAGE = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
NEVER_PULLED = {"InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"}
CONFIG = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PreStartHookError",
}
"""Why a container waits, as kubelets up to 1.37 call it."""
_TAINTS = re.compile(r"\{[^}]*\}")
"""Older schedulers name them, and people choose the names: `had untolerated taint {volume-test: yes}`."""
_PREEMPTION = re.compile(r"\bpreemption: .*", re.DOTALL)
_GPU = "Insufficient nvidia.com/gpu"
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
    GPUs, so that nearly every message says that some lack them: it counts only if none has them."""
    said = _PREEMPTION.sub("", message)
    if _GPU in said and not gpus_free:
        return ""
    said = _TAINTS.sub("taint", said)
    return next((need for need, pattern in _UNMET if pattern.search(said)), "node")
