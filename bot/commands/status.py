"""/llm status [NAME] — what runs, whose it is, and what it does."""

from pydantic import Field

from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.chat.units import Tokens
from bot.core.deployment.cards import READY_VERBS, buttons, tone
from bot.core.deployment.estimate import left_lines
from bot.core.deployment.start_text import next_step_lines, remedy_text, state_text, tries_lines
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.remedies import fixes
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.idle.idle_messages import why_failed
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Status(Command):
    verb = "status"
    group = Group.SEE
    examples = ("status", "status llama-3-8b")

    name: WorkloadName | None = Field(None)

    async def run(self, ctx: Context) -> Replies:
        if self.name is not None:
            workload = ctx.services.lifecycle.see(self.name, ctx.user)
            await ctx.services.activity.sample(workload)
            yield one(workload, ctx)
            return
        workloads = sorted(ctx.services.cluster.workloads(), key=lambda w: (w.created, w.name))
        left_alone = _left_alone(ctx)
        if not workloads:
            yield Reply(t("status.nothing"), lines=left_alone or (t("status.nothing_hint"),))
            return
        header = ("model", "phase", "owner", "gpus", "age", "requests", "idle")
        yield Reply(
            t("status.title", count=len(workloads), gpus=sum(w.gpus_on_nodes for w in workloads)),
            lines=left_alone,
            table=Table(
                tuple(t(f"status.{name}") for name in header),
                tuple(row(workload, ctx) for workload in workloads),
            ),
        )


def _left_alone(ctx: Context) -> tuple[Text, ...]:
    """Deployments that carry the bot's label and are no workloads."""
    newer, unreadable = ctx.services.cluster.written_by_newer(), ctx.services.cluster.unreadable()
    broken = sorted((name, why) for name, why in unreadable.items() if "/" not in name)
    return (
        *(t("workload.newer", name=name) for name in newer),
        *(t("workload.unreadable", name=name, why=why) for name, why in broken),
    )


def row(workload: Workload, ctx: Context) -> tuple[Text, ...]:
    """The row of a workload in the list."""
    return (
        verbatim(f"{tone(workload)} {workload.name}"),
        _phase(workload, ctx),
        verbatim(workload.record.owner_name),
        verbatim(str(workload.gpus_held)),
        t("status.span", span=ctx.services.clock.now() - workload.created),
        _requests(workload, ctx),
        _idle(workload, ctx),
    )


def one(workload: Workload, ctx: Context) -> Reply:
    """Everything about one workload."""
    spec, now = workload.spec, ctx.services.clock.now()
    fields = [
        ("phase", _phase(workload, ctx)),
        ("owner", verbatim(workload.record.owner_name)),
        ("model", verbatim(spec.repo)),
        ("runs", _runs(workload, ctx)),
        ("gpus", t("status.gpus_held", count=workload.gpus_on_nodes, tp=spec.tensor_parallel_size)),
        ("age", t("status.span", span=now - workload.created)),
        ("requests", _requests(workload, ctx)),
        ("idle", _idle(workload, ctx)),
        ("address", verbatim(f"{ctx.services.cluster.address(workload.name)}/v1")),
    ]
    if workload.nodes:
        fields.insert(5, ("node", verbatim(", ".join(workload.nodes))))
    if workload.record.lease_ends_at:
        ends = workload.record.lease_ends_at
        over = workload.record.lease_over(now)
        fields.append(
            ("ends", t("status.ended_at", at=ends) if over else t("status.ends_at", at=ends, left=ends - now))
        )
    if workload.evidence:
        fields.append(("evidence", verbatim(workload.evidence)))
    return Reply(
        verbatim(workload.name),
        tone=tone(workload),
        lines=_lines(workload, ctx),
        fields=tuple((t(f"status.{name}"), value) for name, value in fields),
        buttons=(*_fixes(workload, ctx), *buttons(*_verbs(workload), workload=workload)),
    )


def _lines(workload: Workload, ctx: Context) -> tuple[Text, ...]:
    """How often it was tried, what to do about what holds it up, and how long its start still takes."""
    left = left_lines(workload, ctx.services.progress.of(workload), ctx.services.clock.now())
    remedy = (remedy_text(workload),) if workload.phase is Phase.FAILED else ()
    steps = next_step_lines(workload)
    return (
        *why_failed(workload),
        *tries_lines(workload),
        *(steps if workload.shortage else steps[-1:]),
        *remedy,
        *left,
    )


def _fixes(workload: Workload, ctx: Context) -> tuple[Button, ...]:
    failed = workload.phase is Phase.FAILED
    return fixes(workload, ctx.services.planner.gpu.per_node) if failed else ()


def _verbs(workload: Workload) -> tuple[str, ...]:
    if workload.phase is Phase.READY:
        return READY_VERBS
    return ("wake", "stop") if workload.sleeps else ("logs", "stop")


def _phase(workload: Workload, ctx: Context) -> Text:
    return state_text(workload, ctx.services.progress.of(workload))


def _runs(workload: Workload, ctx: Context) -> Text:
    spec = workload.spec
    return t(
        "status.runs_as",
        format=FORMATS[Quantization(spec.quantization)].label,
        context=Tokens(spec.max_model_len),
        tokens=Tokens(spec.kv_cache_tokens),
        ready=workload.ready_replicas,
        replicas=workload.replicas,
    )


def _requests(workload: Workload, ctx: Context) -> Text:
    load = ctx.services.activity.load(workload)
    if load is None:
        return verbatim("–")
    return t("status.load", running=load.running, waiting=load.waiting)


def _idle(workload: Workload, ctx: Context) -> Text:
    if workload.phase is not Phase.READY:
        return verbatim("–")
    activity = ctx.services.activity
    load = activity.load(workload)
    if activity.in_flight(workload.name) or (load and load.running):
        return t("status.busy")
    return t("status.span", span=ctx.services.clock.now() - activity.idle_since(workload))
