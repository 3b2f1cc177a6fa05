"""GPUs on nodes and who holds them: reduced copies of nodes and pods."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.manifests import WORKLOAD
from bot.cluster.pods import gpus_of
from bot.core.ports import GpuNode

GPU = "nvidia.com/gpu"
RUNNING_PODS = "status.phase!=Succeeded,status.phase!=Failed"


class Node(NamedTuple):
    """What we keep of a node."""

    name: str
    gpus: int
    schedulable: bool
    ready: bool


class Holder(NamedTuple):
    """What we keep of a pod with GPUs; None is kept of others."""

    node: str
    name: str
    gpus: int


def keep_node(node: Json) -> Node:
    """Name, GPUs, and whether pods may come."""
    gpus = int(node.get("status", {}).get("allocatable", {}).get(GPU, 0))
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    cordoned = node.get("spec", {}).get("unschedulable", False)
    return Node(node["metadata"]["name"], gpus, ready and not cordoned, ready)


def keep_pod(pod: Json) -> Holder | None:
    """Where it is and how many GPUs it holds."""
    gpus, node = gpus_of(pod), pod["spec"].get("nodeName")
    if not gpus or not node:
        return None
    metadata = pod["metadata"]
    workload = (metadata.get("labels") or {}).get(WORKLOAD)
    name = workload or f"{metadata['namespace']}/{metadata['name']}"
    return Holder(node, name, gpus)


def inventory(
    nodes: Iterable[Node], holders: Iterable[Holder | None], names: dict[str, str]
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
