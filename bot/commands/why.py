"""/llm why NAME — is it idle, how do we know, and what happens when."""

from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.deployment.cards import tone
from bot.core.deployment.start_text import next_step_lines, remedy_text, state_text, tries_lines
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle import idle_messages
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


class Why(Command):
    verb = "why"
    group = Group.SEE
    examples = ("why llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        workload = ctx.services.lifecycle.see(self.name, ctx.user)
        activity = ctx.services.activity
        if workload.phase is Phase.ASLEEP:
            yield idle_messages.why_asleep(workload, ctx.services.clock.now())
            return
        if workload.phase is not Phase.READY:
            yield _why_not_ready(workload, ctx)
            return
        await activity.sample(workload)
        verdict = activity.verdict(workload)
        lines = idle_messages.explained(workload, verdict, activity.policy, ctx.services.clock.now())
        yield Reply(t("why.title", name=workload.name), tone=tone(workload), lines=lines)


def _why_not_ready(workload: Workload, ctx: Context) -> Reply:
    """What it does instead, since when, and what to do about it."""
    failed = workload.phase is Phase.FAILED
    evidence = (t("card.evidence", line=workload.evidence),) if failed and workload.evidence else ()
    remedy = (remedy_text(workload),) if failed else ()
    state = state_text(workload, ctx.services.progress.of(workload))
    return Reply(
        t("why.not_ready", name=workload.name, state=state, since=workload.since),
        tone=tone(workload),
        lines=(*tries_lines(workload), *next_step_lines(workload), *evidence, *remedy),
    )
