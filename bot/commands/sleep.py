"""/llm sleep NAME — give its GPUs back; everything else stays, and `wake` brings it back."""

from bot.commands.base import Command, Context, Group, Replies
from bot.commands.fields import WorkloadName
from bot.core.cards import buttons
from bot.core.reply import Reply, Tone
from bot.core.text import t


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
