"""/llm deploy MODEL [tp=2] [quant=gptq] [max-len=8k] [name=…] [replicas=1] [ttl=4h] — start a model."""

from typing import Literal

from pydantic import Field

from bot.core.access.roles import Role
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.cards import headline, memory_line
from bot.core.deployment.names import valid_name
from bot.core.fit.gpu import Quantization
from bot.core.fit.planning import Option, spec_of
from bot.grammar.command import Context, Group, Replies
from bot.grammar.fields import HoursArgument, IdleWindow, ModelRequest, Until
from bot.grammar.plan_replies import refuse, unknown
from bot.services.deployments.lifecycle import DeployOptions


class Deploy(ModelRequest):
    verb = "deploy"
    group = Group.RUN
    examples = ("deploy llama-3-8b", "deploy qwen2.5-7b quant=gptq max-len=16k ttl=4h")
    form = ("model", "tensor_parallel_size", "quantization", "max_model_len", "ttl", "name")
    check = "plan"

    name: str | None = Field(None, max_length=60, examples=["my-llama"])
    replicas: int = Field(1, ge=1, le=8)
    ttl: Until | None = Field(None, examples=["4h"])
    idle: IdleWindow | None = Field(None, examples=["2h"])
    priority: Literal["high"] | None = Field(None, examples=["high"])
    hours: HoursArgument | None = Field(None, examples=["mo-fr 8-20"])

    async def run(self, ctx: Context) -> Replies:
        if self.priority:
            ctx.services.access.require(ctx.user, Role.ADMIN)
        if self.name:
            valid_name(self.name.lower())  # before alternatives are offered, which have the name, too
        option = self._option(ctx)
        name = (self.name or option.entry.key).lower()
        spec = spec_of(option, name, self.replicas, self.shape)
        ttl = ctx.services.lifecycle.span(self.ttl) if self.ttl else None
        lease = ctx.services.lifecycle.admit(spec, ctx.user, ttl)
        lines = [memory_line(spec)]
        if option.entry.caution and option.setup.quantization is not Quantization.NONE:
            lines.append(t(f"caution.{option.entry.caution}"))
        if await ctx.services.cluster.cache_on_one_node():
            lines.append(t("caution.cache_one_node"))
        if lease:
            lines.append(t("deploy.lease", lease=lease))
        smallest = self.tensor_parallel_size is None and self.replicas == 1
        card = yield Reply(
            headline(spec, ctx.services.planner.gpu.label, smallest=smallest),
            tone=Tone.LOADING,
            lines=(*lines, t("deploy.asking")),
            buttons=(Button(t("button.cancel"), f"stop {name}"),),
            live=True,
        )
        options = DeployOptions(
            ttl=ttl, idle_window=self.idle, office_hours=self.hours or "", urgent=bool(self.priority)
        )
        await ctx.services.lifecycle.deploy(spec, ctx.user, ctx.place, card, options)

    def _option(self, ctx: Context) -> Option:
        """The way to start it. UserError if there is none, or if the model is a repository that is not in the
        catalog and the person is no researcher."""
        planner = ctx.services.planner
        if "/" in self.model and planner.catalog.find(self.model) is None:
            ctx.services.access.require(ctx.user, Role.RESEARCHER)
        try:
            verdict = planner.judge(self.request())
        except UserError as error:
            raise unknown(self, planner.catalog.similar_names(self.model), error) from None
        if not verdict.fits:
            raise refuse(verdict, self, planner.gpu)
        return verdict.option
