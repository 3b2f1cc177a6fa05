"""What a view of a workload takes over from the one before it."""

from datetime import datetime

from bot.cluster.pod_events import TROUBLE
from bot.cluster.waits import MENDING
from bot.core.deployment.workload import Phase, Workload

TOLD_IN_TURNS = {*MENDING, *TROUBLE.values()}
"""What a kubelet tells of again and again in other words: another id, another side of the same trouble."""


def still_held_up(workload: Workload, before: Workload | None) -> Workload:
    """A workload that waits for its next try, held up by what held it up before: kubelets tell of the two in
    turns."""
    if before is None or before.cause not in MENDING or workload.cause != "restart":
        return workload
    shown = {name: getattr(before, name) for name in ("phase", "cause", "since", "evidence")}
    return workload.model_copy(update=shown)


def as_before(workload: Workload, before: Workload | None, now: datetime) -> Workload:
    """The workload, where it only repeats itself, as it was `before`: each crash looks like the first. The
    clock of its node may be ahead of `now`."""
    if before is None or before.phase is not workload.phase:
        return workload.model_copy(update={"since": min(workload.since, now)})
    same: dict[str, object] = {}
    if workload.phase is Phase.FAILED or workload.since > now:
        same["since"] = min(before.since, workload.since)
    if before.cause == workload.cause and before.evidence and workload.cause in TOLD_IN_TURNS:
        same["evidence"] = before.evidence
    return workload.model_copy(update=same) if same else workload
