"""/llm logs NAME [LINES] — the last lines that the model's server wrote."""

from pydantic import Field

from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Logs(Command):
    verb = "logs"
    group = Group.SEE
    examples = ("logs llama-3-8b", "logs llama-3-8b 200")

    name: WorkloadName
    lines: int = Field(30, ge=1, le=2000)

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        log = await ctx.services.cluster.logs(workload.name, self.lines)
        if not log.strip():
            yield Reply(t("logs.none", name=workload.name, phase=workload.phase.label))
            return
        count = len(log.splitlines())
        yield Reply(t("logs.title", name=workload.name, count=count), log=log, private=True)
