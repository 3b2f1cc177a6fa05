"""Deployments, pods, nodes and events as an API server shows them, reduced to what the bot reads."""

from datetime import UTC, datetime
from typing import Any

from bot.cluster.manifests import ApiKey, WorkloadSettings, workload_objects
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.engines.vllm.engine import Vllm

Json = dict[str, Any]
BEGUN = datetime(2030, 1, 1, 12, tzinfo=UTC)
SETTINGS = WorkloadSettings(namespace="demo")
RECORD = Record(owner="ada", owner_name="Ada", start_requested_at=BEGUN)


def stamp(minute: int) -> str:
    """So many minutes after BEGUN, as the API writes it."""
    return f"2030-01-01T12:{minute:02}:00Z"


def spec(name: str = "tiny", **more: Any) -> Spec:
    """A small model."""
    return Spec(**({"name": name, "model": name, "repo": f"org/{name}", "max_model_len": 2048} | more))


def deployment(name: str = "tiny", replicas: int = 1, record: Record = RECORD, **status: Any) -> Json:
    """As the bot makes it and the API server stores it; `status` as its controller writes it."""
    key = ApiKey(f"llm-{name}-key", "")
    made = workload_objects(spec(name), record, SETTINGS, Vllm(), key)["Deployment"]
    made["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(0), "resourceVersion": "7"}
    made["spec"]["replicas"] = replicas
    return made | {"status": status}


def pod(
    workload: str = "tiny",
    name: str = "",
    *,
    node: str = "gpu-1",
    minute: int = 1,
    ready: bool = False,
    gpus: int = 1,
    **status: Any,
) -> Json:
    """A pod of a workload, on a node unless `node` is empty."""
    labels = {"app.kubernetes.io/managed-by": "llm-bot", "llm-bot/workload": f"llm-{workload}"}
    name = name or f"llm-{workload}-1"
    conditions = status.pop("conditions", [])
    if ready:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(9)}]
    requests = {"resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}
    return {
        "metadata": {
            "namespace": "demo",
            "name": name,
            "uid": f"uid-{name}",
            "labels": labels,
            "creationTimestamp": stamp(minute),
            "resourceVersion": "8",
        },
        "spec": {"containers": [{"name": "vllm", **requests}], **({"nodeName": node} if node else {})},
        "status": {"phase": "Running" if ready else "Pending", "conditions": conditions, **status},
    }


def unplaced(message: str, reason: str = "Unschedulable") -> Json:
    """A pod that the scheduler finds no node for."""
    told = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod(node="", conditions=[told])


def container(state: Json, last: Json | None = None, restarts: int = 0) -> list[Json]:
    """`containerStatuses` of a pod."""
    return [{"name": "vllm", "state": state, "lastState": last or {}, "restartCount": restarts}]


def node(name: str, gpus: int = 4, *, ready: bool = True) -> Json:
    """A node with GPUs."""
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": {
            "allocatable": {"nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def warning(pod: str, reason: str, message: str, name: str = "") -> Json:
    """An event of a kubelet about a pod."""
    about = {"kind": "Pod", "namespace": "demo", "name": pod}
    named = {"name": name or f"{pod}.{reason.lower()}"}
    told = {"type": "Warning", "reason": reason, "message": message}
    return {"metadata": named, "involvedObject": about, **told}
