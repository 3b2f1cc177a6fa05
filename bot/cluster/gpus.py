"""GPUs on nodes and who holds them: reduced copies of nodes and pods."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.manifests import WORKLOAD
from bot.cluster.pod_fields import gpus_of
from bot.core.ports import GpuNode

GPU_RESOURCE = "nvidia.com/gpu"
RUNNING_PODS = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of the pods that hold what they ask for."""


class Node(NamedTuple):
    """What is kept of a node."""

    name: str
    gpus: int
    """GPUs that pods can get, used or not."""
    schedulable: bool
    """Pods may come: it is ready and nobody has cordoned it."""
    ready: bool
    """Its kubelet answers."""


class GpuHolder(NamedTuple):
    """What is kept of a pod that holds GPUs."""

    node: str
    name: str
    """Of the workload that it belongs to, as an object; `namespace/pod` of others."""
    gpus: int


def reduce_node(node: Json) -> Node:
    """What to keep of a node."""
    gpus = int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, 0))
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    cordoned = node.get("spec", {}).get("unschedulable", False)
    return Node(node["metadata"]["name"], gpus, ready and not cordoned, ready)


def reduce_pod(pod: Json) -> GpuHolder | None:
    """What to keep of a pod; None if it holds no GPU of a node."""
    gpus, node = gpus_of(pod), pod["spec"].get("nodeName")
    if not gpus or not node:
        return None
    metadata = pod["metadata"]
    workload = (metadata.get("labels") or {}).get(WORKLOAD)
    name = workload or f"{metadata['namespace']}/{metadata['name']}"
    return GpuHolder(node, name, gpus)


def inventory(
    nodes: Iterable[Node], holders: Iterable[GpuHolder | None], names: dict[str, str]
) -> list[GpuNode]:
    """Nodes with GPUs; `names` turns our objects' names into those that people use."""
    used: dict[str, Counter[str]] = {}
    for holder in holders:
        if holder is not None:
            held = used.setdefault(holder.node, Counter())
            held[names.get(holder.name, holder.name)] += holder.gpus
    with_gpus = sorted(node for node in nodes if node.gpus)
    return [
        GpuNode(node.name, node.gpus, dict(used.get(node.name, {})), node.schedulable, node.ready)
        for node in with_gpus
    ]
