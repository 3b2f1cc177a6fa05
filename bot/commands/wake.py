"""/llm wake NAME — start a sleeping model again, as it was."""

from bot.core.deployment.cards import waking, woken
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Wake(Command):
    verb = "wake"
    group = Group.RUN
    examples = ("wake llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.find(self.name)
        card = yield waking(workload, ctx.services.planner.gpu.label, ctx.user)
        await ctx.services.lifecycle.wake(workload.name, ctx.user, ctx.place, card)
        if workload.record.owner != ctx.user.id:
            yield woken(workload)
