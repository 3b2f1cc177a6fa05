"""/llm sleep NAME — give its GPUs back; everything else stays, and `wake` brings it back."""

from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.cards import buttons
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Sleep(Command):
    verb = "sleep"
    group = Group.FREE
    examples = ("sleep llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        await ctx.services.lifecycle.sleep(workload, ctx.user)
        freed = workload.gpus_on_nodes
        yield Reply(
            t("sleep.done" if freed else "sleep.left_queue", name=workload.name, count=freed),
            tone=Tone.ASLEEP,
            buttons=buttons("wake", workload=workload),
        )
