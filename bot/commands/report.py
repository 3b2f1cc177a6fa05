"""/llm report [days=7] — GPU-hours by person and model, waits and failures, with a chart."""

from pydantic import Field

from bot.core.access.roles import Role
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies


class Report(Command):
    verb = "report"
    needs = Role.ADMIN
    group = Group.SEE
    examples = ("report", "report days=30")

    days: int = Field(7, ge=1, le=92, examples=[7])

    async def run(self, ctx: Context) -> Replies:
        yield Reply(t("report.drawing"), live=True)
        yield await ctx.services.reports.all(self.days)
