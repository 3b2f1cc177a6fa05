"""/llm keep NAME [for=4h] — let it end later than its lease says."""

from datetime import timedelta

from pydantic import Field

from bot.commands.base import Command, Context, Group, Replies
from bot.commands.fields import Duration, WorkloadName
from bot.core.reply import Reply, Tone
from bot.core.text import t


class Keep(Command):
    verb = "keep"
    group = Group.RUN
    examples = ("keep llama-3-8b", "keep llama-3-8b 2h")

    name: WorkloadName
    span: Duration = Field(timedelta(hours=4), alias="for", examples=["4h"])

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        ends = await ctx.services.lifecycle.keep(workload, ctx.user, self.span)
        yield Reply(t("keep.done", name=workload.name, at=ends), tone=Tone.READY, private=True)
