"""What a workload does, in words: the card, `status`, `why`, `gpus` and alerts say it alike."""

from bot.core.chat.text import Text, t
from bot.core.deployment.ending import DISPLACED, MUTE, Ending
from bot.core.deployment.workload import UNREADY, Phase, Workload
from bot.core.failures.remedies import cause_name, remedy
from bot.core.ports import Progress


def state_text(workload: Workload, progress: Progress | None = None) -> Text:
    """What it does now, in a few words: `loading: shard 3 of 4`, `failed: the image has no kernels for this
    GPU`, `waiting for a node: no node with a free GPU has enough CPU`."""
    if workload.phase is Phase.FAILED:
        return t("start.failed", cause=cause_text(workload))
    if workload.cause == UNREADY:
        return t("waits.unready")  # it has been up, and loads nothing
    if workload.cause:
        return t("start.state", phase=workload.phase.label, what=t(f"waits.{workload.cause}"))
    if progress is None:
        return workload.phase.label
    if progress.phase is Phase.LOADING:
        return t("start.state", phase=progress.phase.label, what=progress.text)
    return progress.text


def cause_text(workload: Workload) -> Text:
    """Why it failed; with the exit code of its engine, if that is why."""
    end = workload.last_end
    if end and end.cause == workload.cause:
        return how(end)
    return cause_name(workload.cause or "unknown")


def remedy_text(workload: Workload) -> Text:
    """What to do about a failure."""
    end = workload.last_end
    node = end.node if end and end.node else ", ".join(workload.nodes)
    return remedy(workload.cause or "unknown", node)


def tries_lines(workload: Workload) -> tuple[Text, ...]:
    """Which try of its start it is, and how the one before ended; of a failure, how often it was tried; of a
    model that has been ready, that it starts again, because its pod was removed and why."""
    end = workload.last_end
    if workload.phase in (Phase.READY, Phase.DRAINING, Phase.ASLEEP):
        return ()
    if end is None or not end.number:
        nodes = ", ".join(workload.record.last_nodes)
        return (t("start.moved", nodes=nodes),) if workload.is_moving and nodes else ()
    if end.cause in DISPLACED and workload.record.ready_at:
        return (t("start.displaced", how=how(end), node=end.node),)
    if workload.phase is not Phase.FAILED:
        return (t("start.again", number=end.number + 1, at=end.at, how=how(end)),)
    return (t("start.tried", count=end.number, at=end.at),) if end.number > 1 else ()


def next_step_lines(workload: Workload) -> tuple[Text, ...]:
    """What the cluster wrote of what it waits for, or of how the try before ended; and what to do if that
    goes on."""
    end = workload.last_end if workload.ends else None
    if workload.phase in (Phase.FAILED, Phase.READY) or not (workload.cause or end):
        return ()
    written = workload.evidence or (end.evidence if end else "")
    evidence = (t("card.evidence", line=written),) if written else ()
    if workload.shortage:
        evidence = (workload.shortage.text,)
    if workload.cause:
        return (*evidence, t(f"waits_next.{workload.cause}"))
    return (*evidence, remedy(end.cause, end.node)) if end else ()


def how(end: Ending) -> Text:
    """The cause of an end; with the exit code where nothing better is known."""
    cause = cause_name(end.cause)
    told = end.exit_code and end.cause in MUTE
    return t("start.ended", cause=cause, code=end.exit_code) if told else cause
