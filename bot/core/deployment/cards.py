"""The card of a deployment: the one message that changes while it starts, runs, sleeps or fails."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t
from bot.core.chat.units import Tokens
from bot.core.deployment.estimate import left_lines, usual_lines
from bot.core.deployment.start_text import cause_text, next_step_lines, remedy_text, state_text, tries_lines
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.failures.remedies import fixes
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.ports import GpuNode, Progress
from bot.core.queue.order import QueuePosition

TONES = {
    Phase.READY: Tone.READY,
    Phase.ASLEEP: Tone.ASLEEP,
    Phase.FAILED: Tone.FAILED,
    Phase.QUEUED: Tone.QUEUED,
}


def tone(workload: Workload) -> Tone:
    """The tone of its phase."""
    return TONES.get(workload.phase, Tone.LOADING)


def headline(spec: Spec, gpu: str, *, smallest: bool = False) -> Text:
    """`llama-3-8b · fp16 · 2 × V100 (tp 2, the smallest that fits) · 8k context`."""
    return t(
        "card.headline_smallest" if smallest else "card.headline",
        name=spec.name,
        format=FORMATS[Quantization(spec.quantization)].label,
        gpus=spec.gpus,
        gpu=gpu,
        tp=spec.tensor_parallel_size,
        context=Tokens(spec.max_model_len),
    )


def memory_line(spec: Spec) -> Text:
    """The memory of the weights, and the tokens that the KV cache of one replica holds."""
    return t(
        "card.memory",
        total=spec.weights_gib,
        per_gpu=spec.weights_gib / spec.tensor_parallel_size,
        tokens=Tokens(spec.kv_cache_tokens),
    )


def card(
    workload: Workload,
    now: datetime,
    *,
    progress: Progress | None = None,
    nodes: Sequence[GpuNode] = (),
    address: str = "",
    sleeps_after: timedelta | None = None,
    position: QueuePosition | None = None,
    gpus_per_node: int = 1,
) -> Reply:
    """The card of a workload as of now.

    What is left out is not shown: `progress` of a start, `nodes` and `position` of
    one that waits, the `address` (without `/v1`) and the idle window (`sleeps_after`) of one that is ready.
    One that has failed offers more GPUs, up to `gpus_per_node`."""
    match workload.phase:
        case Phase.READY:
            return _ready(workload, now, address, sleeps_after)
        case Phase.FAILED:
            return _failed(workload, gpus_per_node)
        case Phase.ASLEEP:
            over = workload.record.lease_over(now)
            slept = t("idle.slept_lease", name=workload.name, count=workload.spec.gpus)
            return Reply(
                slept if over else t("card.asleep", name=workload.name),
                tone=Tone.ASLEEP,
                buttons=buttons("wake", "stop", workload=workload),
            )
        case Phase.QUEUED:
            return _queued(workload, nodes, position)
        case _:
            return _starting(workload, now, progress)


def waking(workload: Workload, gpu: str, user: User) -> Reply:
    """The card of a model that is being woken; UserError when it does not sleep. It goes on only if the
    person owns the model."""
    if not workload.sleeps:
        raise UserError(t("wake.awake", name=workload.name, phase=workload.phase.label))
    own = user.id == workload.record.owner
    return Reply(
        headline(workload.spec, gpu),
        tone=Tone.LOADING,
        lines=(t("wake.asking", name=workload.name), *usual_lines(workload.record)),
        buttons=(Button(t("button.cancel"), f"sleep {workload.name}"),) if own else (),
        live=own,
    )


def woken(workload: Workload) -> Reply:
    """For a person who woke a model of somebody else, whose message tells how it goes on."""
    text = t("wake.woken", name=workload.name, owner=workload.record.owner_name)
    return Reply(text, Tone.LOADING, buttons=(Button(t("button.status"), f"status {workload.name}"),))


def _starting(workload: Workload, now: datetime, progress: Progress | None) -> Reply:
    cancel = Button(t("button.cancel"), f"stop {workload.name}", about=workload.identity)
    verbs = buttons("wake", "stop", workload=workload) if workload.sleeps else (cancel,)
    key = "card.starting_on" if workload.nodes else "card.starting"
    state = state_text(workload, progress)
    text = t(key, name=workload.name, state=state, node=", ".join(workload.nodes))
    lines = (*tries_lines(workload), *next_step_lines(workload), *left_lines(workload, progress, now))
    return Reply(text, Tone.LOADING, lines=lines, buttons=verbs, live=True)


def _ready(workload: Workload, now: datetime, address: str, sleeps_after: timedelta | None) -> Reply:
    lines = [t("card.address", url=f"{address}/v1", name=workload.name)]
    if workload.record.office_hours:
        lines.append(t("card.hours", hours=workload.record.office_hours))
    elif sleeps_after is not None:
        lines.append(t("card.sleeps", window=sleeps_after))
    if workload.record.lease_ends_at:
        lines.append(
            t("card.ends", at=workload.record.lease_ends_at, left=workload.record.lease_ends_at - now)
        )
    return Reply(
        _ready_text(workload),
        tone=Tone.READY,
        lines=tuple(lines),
        buttons=buttons(*READY_VERBS, workload=workload),
    )


def _ready_text(workload: Workload) -> Text:
    """How long this start took; not if it is ready again, or was never away.

    A node that comes back says that its pods have been ready all the time: then only what was told counts."""
    asked, ready_at = workload.record.start_requested_at, workload.record.ready_at
    told_down = workload.record.announced_news.startswith(workload.down_news)
    if ready_at and (workload.since > ready_at or told_down):
        return t("card.ready_again", name=workload.name)
    if workload.since <= asked:
        return t("card.ready_still", name=workload.name)
    return t("card.ready", name=workload.name, took=workload.since - asked)


def _failed(workload: Workload, gpus_per_node: int) -> Reply:
    evidence = [t("card.evidence", line=workload.evidence)] if workload.evidence else []
    key = "card.down" if workload.record.ready_at else "card.failed"
    return Reply(
        t(key, name=workload.name, cause=cause_text(workload)),
        tone=Tone.FAILED,
        lines=(*evidence, remedy_text(workload), *tries_lines(workload)),
        buttons=(*fixes(workload, gpus_per_node), *buttons("logs", "stop", workload=workload)),
    )


def _queued(workload: Workload, nodes: Sequence[GpuNode], position: QueuePosition | None) -> Reply:
    text = t("card.queued", name=workload.name, count=workload.spec.tensor_parallel_size)
    if position is not None:
        place = {"waits": text, "place": position.place, "of": position.total}
        text = t("card.turn_at", at=position.at, **place) if position.at else t("card.turn", **place)
    leave = "sleep" if workload.record.ran_before else "stop"  # one that ran before keeps all it has
    return Reply(
        text,
        tone=Tone.QUEUED,
        lines=tuple(node_line(node) for node in nodes),
        buttons=(Button(t("button.leave_queue"), f"{leave} {workload.name}", about=workload.identity),),
    )


def node_line(node: GpuNode) -> Text:
    """`icc-gpu-1: 2 of 4 free, 2 with qwen2.5-7b`."""
    holders = ", ".join(f"{count} × {name}" for name, count in sorted(node.used.items()))
    key = "card.node_used" if holders else "card.node"
    return t(key, node=node.name, free=node.free, total=node.total, holders=holders)


READY_VERBS = ("ask", "webui", "logs", "keep", "sleep", "stop")
"""The commands that a person can give about a model that is ready."""


def buttons(*verbs: str, workload: Workload) -> tuple[Button, ...]:
    """A button for each verb, for this workload and for no other that gets its name later. That of Open WebUI
    is about none: what it says stands beside the card, not in its place."""
    return tuple(_button(verb, workload) for verb in verbs)


def _button(verb: str, workload: Workload) -> Button:
    if verb == "webui":
        return Button(t("button.webui"), verb)
    confirm = t("button.stop_confirm", name=workload.name) if verb == "stop" else None
    return Button(t(f"button.{verb}"), f"{verb} {workload.name}", confirm=confirm, about=workload.identity)
