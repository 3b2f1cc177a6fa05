"""/llm why NAME — is it idle, how do we know, and what happens when."""

from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.deployment.cards import tone
from bot.core.deployment.workload import Phase
from bot.core.idle import idle_messages
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Why(Command):
    verb = "why"
    group = Group.SEE
    examples = ("why llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.find(self.name)
        activity = ctx.services.activity
        if workload.phase is Phase.ASLEEP:
            yield idle_messages.why_asleep(workload)
            return
        if workload.phase is not Phase.READY:
            text = t("why.not_ready", name=workload.name, phase=workload.phase.label)
            yield Reply(text, tone=tone(workload))
            return
        await activity.sample(workload)
        verdict = activity.verdict(workload)
        lines = idle_messages.explained(workload, verdict, activity.policy, ctx.services.clock.now())
        yield Reply(t("why.title", name=workload.name), tone=tone(workload), lines=lines)
