"""What a real kubelet was recorded saying (tests/fixtures/kubelet), as the API server would show it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.cluster.gpus import reduce_node
from bot.cluster.pod_events import PodEvent, reduce_event
from bot.cluster.pods import PodSurroundings, read_workload
from bot.cluster.waits import PATIENCE
from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook
from bot.core.deployment.cards import card
from bot.core.deployment.workload import Phase, Workload
from bot.platforms.console.render import render
from tests.cluster.objects import BEGUN, RECORD, Json, deployment, pod, stamp

RECORDED_AT = datetime(2026, 11, 27, 19, 30, tzinfo=UTC)
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


def cards(language: str) -> str:
    """The card of every case in a language; of one that turns into a failure when it lasts, also then."""
    say = Phrasebook(LOCALES, lambda: RECORDED_AT).speaker(language)
    told = []
    for name in CASES:
        seen, lasting = case(name), case(name, waited=PATIENCE)
        for title, shown in [(name, seen), (f"{name}, lasting", lasting)][
            : 1 + (seen.phase != lasting.phase)
        ]:
            told.append(f"# {title}\n{render(replace(card(shown, RECORDED_AT), buttons=()), say)}\n")
    return "\n".join(told)


def sequence(name: str) -> list[tuple[float, str, str, Json]]:
    """What a watch showed: when (in seconds), how (`ADDED` …), of which kind, and the object."""
    lines = (RECORDED / "sequences" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(told["at"], told["type"], told["kind"], told["object"]) for told in map(json.loads, lines)]


class Replay:
    """A sequence as the bot follows it: the record remembers what was seen, as the bot writes it down."""

    def __init__(self) -> None:
        self.record = RECORD
        self._seen: dict[str, dict[str, Json]] = {"Deployment": {}, "Pod": {}, "Event": {}, "Node": {}}

    def hear(self, how: str, kind: str, thing: Json) -> Workload:
        """The workload after the next event of the watch."""
        known, name = self._seen[kind], thing["metadata"]["name"]
        if how == "DELETED":
            known.pop(name, None)
        else:
            known[name] = thing
        found = self._workload()
        if found.phase is Phase.READY:
            end = found.last_end.forgiven() if found.last_end else None
            self.record = self.record.changed(ready_at=found.since, last_end=end)
        elif found.last_end:
            self.record = self.record.changed(last_end=found.last_end)
        return found

    def _workload(self) -> Workload:
        shown = next(iter(self._seen["Deployment"].values()), {})
        replicas = shown.get("spec", {}).get("replicas", 1)
        status = {"conditions": shown.get("status", {}).get("conditions", [])}
        told = [event for thing in self._seen["Event"].values() if (event := reduce_event(thing))]
        pods = sorted(self._seen["Pod"].values(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        names = [pod["metadata"]["name"] for pod in pods]
        surroundings = PodSurroundings(
            "vllm",
            events={name: [event for event in told if event.pod == name] for name in names},
            lost={node.name for node in map(reduce_node, self._seen["Node"].values()) if not node.ready},
            has_room=lambda gpus: None,
        )
        return read_workload(deployment(replicas=replicas, record=self.record, **status), pods, surroundings)
