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
_FULL = re.compile(r"no space left on device")
_REFUSED = re.compile(
    r"(?<!permission )denied|unauthorized|authoriz|authentic|\b401\b|403 Forbidden", re.IGNORECASE
)
_NOT_PULLED = (
    ("node_disk_full", _FULL),
    ("image_platform", re.compile(r"no match for platform|no matching manifest")),
    ("image_denied", _REFUSED),
    ("image_limit", re.compile(r"\b429\b|toomanyrequests|rate ?limit", re.IGNORECASE)),
    (
        "image_absent",
        re.compile(r"^(?!.*content digest).*not found$|manifest unknown", re.IGNORECASE | re.DOTALL),
    ),
)
"""Causes by what a registry or a node says of an image that cannot be pulled; the first that is found. The
numbers of HTTP also stand in digests, and in ports of connections that break."""
NOT_CREATED = (
    ("driver_or_cuda_mismatch", re.compile(r"error running (\w+ )?hook|nvidia-container-|CDI device")),
    ("node_disk_full", _FULL),
)
"""Causes by what a container runtime says of a container that it cannot create: a hook puts the GPUs and the
driver of the node into it. The first that is found."""
MENDING = {*MENDS, *MENDS.values(), *(cause for cause, _ in (*_NOT_PULLED, *NOT_CREATED))}
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
_TAINTS = re.compile(r"taint \{([^:}]*)[^}]*\}")
"""Older schedulers name them, and people choose the names: `had untolerated taint {volume-test: yes}`."""
_SICK = re.compile(r"node\.kubernetes\.io/(not-ready|unreachable|\w+-pressure|network-unavailable)")
"""Taints that Kubernetes itself gives a node that is not well."""
_RESERVED = re.compile(r"node-role\.kubernetes\.io/(control-plane|master|etcd)")
"""Taints of nodes that are for the cluster itself: every message speaks of them, and they have no GPUs."""
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
    ("sick", re.compile(r"\bsick\b")),
    ("taints", re.compile(r"\btaint\b")),
    ("node", re.compile(r"affinity|selector")),
    ("taints", re.compile(r"\breserved\b")),
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
    said = _TAINTS.sub(_kind_of_taint, said)
    return next((need for need, pattern in _UNMET if pattern.search(said)), "node")


def _kind_of_taint(found: re.Match[str]) -> str:
    """What kind of taint a scheduler speaks of, without its name."""
    name = found[1].strip()
    if name == "node.kubernetes.io/unschedulable":
        return "were unschedulable"
    return "sick" if _SICK.match(name) else "reserved" if _RESERVED.match(name) else "taint"


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
    known = {"pull": _NOT_PULLED, "container": NOT_CREATED}.get(wait, ())
    return next((cause for cause, said in known if said.search(message)), MENDS[wait])
