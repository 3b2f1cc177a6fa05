"""What a real kubelet was recorded saying (tests/fixtures/kubelet), as the API server would show it."""

import json
from pathlib import Path
from typing import Any

from bot.cluster.pod_events import PodEvent, reduce_event
from bot.cluster.pods import PodSurroundings, read_workload
from bot.core.deployment.workload import Workload
from tests.cluster.objects import BEGUN, RECORD, Json, deployment, pod, stamp

RECORDED = Path(__file__).parents[1] / "fixtures" / "kubelet"
CASES: dict[str, Json] = {
    found["case"]: found
    for found in map(json.loads, (RECORDED / "1.37.jsonl").read_text(encoding="utf-8").splitlines())
}
DELETED = {
    "asleep",
    "deaf-to-sigterm",
    "drained",
    "node-lost-replaced",
    "pre-stop-fails",
    "preempted",
    "success",
    "success-pulled",
    "tainted",
}
"""Cases whose pod was to be deleted, which the recording leaves out."""
SCALED_DOWN = {"deaf-to-sigterm", "pre-stop-fails", "success", "success-pulled"}
"""Of these, the cases of a Deployment that was scaled to 0."""
NODE_LOST = {"node-lost", "node-lost-replaced"}
NO_ROOM = {"no-gpu", "too-many", "gpu-lost"}
"""Cases in which no node has enough GPUs free."""
READY_BEFORE = {"crash-after-ready", "node-lost", "node-lost-replaced", "unready-again"}
SEQUENCES = sorted(path.stem for path in (RECORDED / "sequences").glob("*.jsonl"))


def _timed(told: Json) -> Json:
    """An end with times, where the recording left them out."""
    ended = told.get("terminated")
    if not ended:
        return told
    return {"terminated": {"startedAt": stamp(2), "finishedAt": stamp(3)} | ended}


def _container(told: Json) -> Json:
    states = {name: _timed(told[name]) for name in ("state", "lastState") if name in told}
    return told | states


def case_pods(name: str) -> list[Json]:
    """The pod of a case; none, if none could be made."""
    told = CASES[name]
    if "phase" not in told:
        return []
    placed = not any(c["type"] == "PodScheduled" and c["status"] == "False" for c in told["conditions"])
    made = pod(name=name, node="gpu-1" if placed else "")
    made["metadata"]["creationTimestamp"] = told.get("createdAt", stamp(1))
    if name in DELETED:
        made["metadata"]["deletionTimestamp"] = told["conditions"][0].get("lastTransitionTime")
    conditions = [{"lastTransitionTime": stamp(3)} | found for found in told["conditions"]]
    statuses = [_container(found) for found in told["containers"]]
    made["status"] = {key: told[key] for key in ("phase", "reason", "message") if key in told}
    made["status"] |= {"conditions": conditions, "containerStatuses": statuses}
    return [made]


def case_events(name: str) -> list[PodEvent]:
    """What was told about its pod."""
    return [found for index, told in enumerate(CASES[name]["events"]) if (found := _event(name, index, told))]


def _event(pod: str, index: int, told: Json) -> PodEvent | None:
    named = {"metadata": {"name": f"{pod}.{index}"}, "involvedObject": {"name": pod}}
    return reduce_event(named | told)


def case(name: str, **around: Any) -> Workload:
    """What the bot makes of a case; of a pod that has been ready before, if it was."""
    status = {key: CASES[name].get("deployment", {}).get(key, []) for key in ("conditions",)}
    record = RECORD.changed(ready_at=BEGUN) if name in READY_BEFORE else RECORD
    made = deployment(replicas=0 if name in SCALED_DOWN else 1, record=record, **status)
    surroundings = PodSurroundings(
        "vllm",
        events={name: case_events(name)},
        lost={"gpu-1"} if name in NODE_LOST else set(),
        has_room=lambda gpus: name not in NO_ROOM,
        **around,
    )
    return read_workload(made, case_pods(name), surroundings)
