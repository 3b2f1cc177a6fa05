"""/llm wake NAME — start a sleeping model again, as it was."""

from bot.commands.base import Command, Context, Group, Replies
from bot.commands.fields import WorkloadName
from bot.core.cards import waking


class Wake(Command):
    verb = "wake"
    group = Group.RUN
    examples = ("wake llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.find(self.name)
        card = yield waking(workload, ctx.services.planner.gpu.label)
        await ctx.services.lifecycle.wake(workload.name, ctx.user, ctx.place, card)
