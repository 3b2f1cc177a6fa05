"""/llm usage [days=7] — the GPU-hours that you used, by model."""

from pydantic import Field

from bot.grammar.command import Command, Context, Group, Replies


class Usage(Command):
    verb = "usage"
    group = Group.SEE
    examples = ("usage", "usage days=30")

    days: int = Field(7, ge=1, le=92, examples=[7])

    async def run(self, ctx: Context) -> Replies:
        yield await ctx.services.reports.own(ctx.user.id, self.days)
