"""/llm keep NAME [for=4h] — let it neither sleep nor end for that long, or until 22:00."""

from datetime import timedelta

from pydantic import Field

from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import Until, WorkloadName


class Keep(Command):
    verb = "keep"
    group = Group.RUN
    examples = ("keep llama-3-8b 2h", "keep llama-3-8b 22:00")

    name: WorkloadName
    span: Until = Field(timedelta(hours=4), alias="for", examples=["4h"])

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        until = await ctx.services.lifecycle.keep(workload, ctx.user, self.span)
        yield Reply(t("keep.done", name=workload.name, at=until), tone=Tone.READY, private=True)
