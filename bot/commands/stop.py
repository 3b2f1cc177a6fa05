"""/llm stop NAME [--sure], or delete — remove a deployment; its model stays in the cache."""

from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Stop(Command):
    verb = "stop"
    aliases = ("delete",)
    group = Group.FREE
    examples = ("stop llama-3-8b",)

    name: WorkloadName
    sure: bool = False

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        await ctx.services.lifecycle.stop(workload, ctx.user, sure=self.sure)
        again = f"deploy {workload.spec.model} name={workload.name}"
        freed = workload.gpus_on_nodes
        yield Reply(
            t("stop.done" if freed else "stop.held_none", name=workload.name, count=freed),
            tone=Tone.ASLEEP,
            buttons=(Button(t("button.again"), again),) if workload.spec.shape is None else (),
        )
        await ctx.services.pending_questions.tell_gone(workload)
