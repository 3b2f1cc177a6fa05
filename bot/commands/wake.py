"""/llm wake NAME — start a sleeping model again, as it was."""

from bot.commands.base import Command, Context, Group, Replies
from bot.commands.fields import WorkloadName
from bot.core.cards import headline
from bot.core.errors import UserError
from bot.core.reply import Button, Reply, Tone
from bot.core.text import t
from bot.core.workload import Phase


class Wake(Command):
    verb = "wake"
    group = Group.RUN
    examples = ("wake llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.find(self.name)
        if workload.phase is not Phase.ASLEEP:
            raise UserError(t("wake.awake", name=workload.name, phase=workload.phase.said))
        card = yield Reply(
            headline(workload.spec, ctx.services.planner.gpu.label),
            tone=Tone.LOADING,
            lines=(t("wake.asking", name=workload.name),),
            buttons=(Button(t("button.cancel"), f"sleep {workload.name}"),),
            live=True,
        )
        await ctx.services.lifecycle.wake(workload.name, ctx.user, ctx.place, card)
