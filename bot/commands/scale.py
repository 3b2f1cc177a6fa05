"""/llm scale NAME [replicas=2] [tp=4] [max-len=4k] — other size; a new tp or context loads it again."""

from pydantic import Field

from bot.core.chat.errors import UserError
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.cards import headline
from bot.core.deployment.workload import Spec, Workload
from bot.core.fit.gpu import Quantization
from bot.core.fit.planning import PlanRequest, spec_of
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import MIN_CONTEXT, ContextLength, WorkloadName
from bot.grammar.plan_replies import reason


class Scale(Command):
    verb = "scale"
    group = Group.RUN
    examples = ("scale llama-3-8b replicas=2", "scale llama-3-8b tp=4", "scale llama-3-8b max-len=4k")

    name: WorkloadName
    replicas: int | None = Field(None, ge=1, le=8, examples=[2])
    tensor_parallel_size: int | None = Field(None, alias="tp", ge=1, le=16, examples=[4])
    max_model_len: ContextLength | None = Field(
        None, alias="max-len", ge=MIN_CONTEXT, le=2**24, examples=["4k"]
    )

    async def run(self, ctx: Context) -> Replies:
        lifecycle = ctx.services.lifecycle
        workload = lifecycle.own(self.name, ctx.user)
        spec = self._spec(workload, ctx)
        if spec == workload.spec:
            raise UserError(t("scale.same", name=workload.name, usage=f"/llm {self.usage()}"))
        lifecycle.admit_change(workload, spec, ctx.user)
        reloads = spec.model_copy(update={"replicas": workload.spec.replicas}) != workload.spec
        asleep = workload.sleeps
        key = "scale.asleep" if asleep else "scale.reloads" if reloads else "scale.replicas"
        card = yield Reply(
            headline(spec, ctx.services.planner.gpu.label),
            tone=Tone.ASLEEP if asleep else Tone.LOADING,
            lines=(t(key, name=workload.name, count=spec.replicas),),
            live=not asleep and workload.record.owner == ctx.user.id,
        )
        await lifecycle.change(workload, spec, ctx.user, ctx.place, card)

    def _spec(self, workload: Workload, ctx: Context) -> Spec:
        """The workload's spec with what was asked for, if that fits."""
        old = workload.spec
        replicas = self.replicas or old.replicas
        tp = self.tensor_parallel_size or old.tensor_parallel_size
        length = self.max_model_len or old.max_model_len
        if (tp, length) == (old.tensor_parallel_size, old.max_model_len):
            return old.model_copy(update={"replicas": replicas})
        planner = ctx.services.planner
        verdict = planner.judge(
            PlanRequest(
                old.model if old.shape is None else old.repo,
                tp,
                Quantization(old.quantization),
                length,
                old.gpu_memory_utilization,
                old.shape,
            )
        )
        if not verdict.fits:
            sizes = [option.setup.tensor_parallel_size for option in verdict.alternatives]
            lines = [f"scale {self.name} tp={size}" for size in dict.fromkeys(sizes)]
            raise UserError(
                reason(verdict.reasons[0], verdict.option, planner.gpu),
                buttons=tuple(Button(t("button.line", line=line), line) for line in lines),
            )
        return spec_of(verdict.option, old.name, replicas, old.shape)
