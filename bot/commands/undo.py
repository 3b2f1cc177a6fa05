"""/llm undo NAME — it should not have gone to sleep: wake it, and wait twice as long from now on."""

from dataclasses import replace

from bot.core.chat.text import t
from bot.core.deployment.cards import waking, woken
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Undo(Command):
    verb = "undo"
    group = Group.RUN
    examples = ("undo llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        services = ctx.services
        workload = services.lifecycle.own(self.name, ctx.user)
        reply = waking(workload, services.planner.gpu.label, ctx.user)
        window = services.activity.policy.longer_window(workload)
        longer = t("idle.longer", window=window)
        card = yield replace(reply, lines=(*reply.lines, longer))
        await services.lifecycle.wake(workload.name, ctx.user, ctx.place, card, idle_window=window)
        if workload.record.owner != ctx.user.id:
            yield replace(woken(workload), lines=(longer,))
