"""What nodes have and who holds it, GPUs above all: reduced copies of nodes and pods."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.manifests import WORKLOAD
from bot.cluster.pod_fields import GPU_RESOURCE, asked_of, gpus_of
from bot.cluster.resources import amount, whole_amount
from bot.cluster.shapes import HOLDER, NODE, shaped
from bot.core.deployment.shortage import Shortage
from bot.core.ports import GpuNode

UNITS: Mapping[str, float] = {"cpu": 1.0, "memory": 2.0**30}
"""Resources that may run short beside GPUs, and what people count them in: cores, GiB."""
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
    installed: int
    """GPUs that its device plugin knows, those that it calls unhealthy among them; 0: it has none."""
    cpu: float
    """Cores that pods can get, used or not."""
    memory: float
    """Bytes that pods can get, used or not."""


class Holder(NamedTuple):
    """What is kept of a pod on a node."""

    node: str
    name: str
    """Of the workload that it belongs to, as an object; `namespace/pod` of others."""
    gpus: int
    cpu: float
    """Cores that it asks for."""
    memory: float
    """Bytes that it asks for."""


def reduce_node(node: Json) -> Node:
    """What to keep of a node; ValueError if it has no name."""
    node = shaped(node, NODE)
    has = node.get("status", {}).get("allocatable", {})
    capacity = node.get("status", {}).get("capacity", {})
    gpus = whole_amount(has.get(GPU_RESOURCE, 0))
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    cordoned = node.get("spec", {}).get("unschedulable", False)
    return Node(
        name=node["metadata"]["name"],
        gpus=gpus,
        schedulable=ready and not cordoned,
        ready=ready,
        installed=max(gpus, whole_amount(capacity.get(GPU_RESOURCE, 0))),
        cpu=amount(has.get("cpu", 0)),
        memory=amount(has.get("memory", 0)),
    )


def reduce_pod(pod: Json) -> Holder | None:
    """What to keep of a pod; None if it is on no node, ValueError if it has no name."""
    pod = shaped(pod, HOLDER)
    node = pod["spec"].get("nodeName")
    if not node:
        return None
    metadata = pod["metadata"]
    workload = (metadata.get("labels") or {}).get(WORKLOAD)
    name = workload or f"{metadata['namespace']}/{metadata['name']}"
    return Holder(node, name, gpus_of(pod), asked_of(pod, "cpu"), asked_of(pod, "memory"))


def inventory(
    nodes: Iterable[Node], holders: Iterable[Holder | None], names: dict[str, str]
) -> list[GpuNode]:
    """Nodes with GPUs, also where none of them works or its device plugin is gone while a pod holds some;
    `names` turns our objects' names into those that people use."""
    used: dict[str, Counter[str]] = {}
    for holder in holders:
        if holder is not None and holder.gpus:
            held = used.setdefault(holder.node, Counter())
            held[names.get(holder.name, holder.name)] += holder.gpus
    with_gpus = sorted(node for node in nodes if node.installed or node.name in used)
    return [
        GpuNode(
            node.name,
            node.gpus,
            dict(used.get(node.name, {})),
            node.schedulable,
            node.ready,
            node.installed,
        )
        for node in with_gpus
    ]


def shortage(
    pod: Json, resource: str, nodes: Iterable[Node], holders: Iterable[Holder | None]
) -> Shortage | None:
    """What a pod lacks of `cpu` or `memory` on every node that has enough GPUs free for it, beside what
    `holders` hold; None if it lacks nothing, or there is no such node."""
    asked, gpus = asked_of(pod, resource), gpus_of(pod)
    held: defaultdict[str, float] = defaultdict(float)
    gpus_held: Counter[str] = Counter()
    for holder in filter(None, holders):
        held[holder.node] += _of(holder, resource)
        gpus_held[holder.node] += holder.gpus
    left = {
        node.name: max(0.0, _of(node, resource) - held[node.name])
        for node in nodes
        if node.schedulable and node.gpus and node.gpus - gpus_held[node.name] >= gpus
    }
    if not left or (most := max(left.values())) >= asked:
        return None
    name = min(node for node, free in left.items() if free == most)
    unit = UNITS[resource]
    return Shortage(resource=resource, asked=asked / unit, left=most / unit, node=name)


def _of(thing: Node | Holder, resource: str) -> float:
    return thing.cpu if resource == "cpu" else thing.memory
