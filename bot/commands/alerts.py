"""/llm alerts [list | silence WHICH | ack WHICH] [for=1d] — what is wrong now, and who takes care of it."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from bot.core.access.roles import Role
from bot.core.alerts.alert_messages import headline
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import Duration


class Alerts(Command):
    verb = "alerts"
    needs = Role.ADMIN
    group = Group.SEE
    examples = ("alerts", "alerts silence 17 1d", "alerts ack icc-gpu-1")

    do: Literal["list", "silence", "ack"] = Field("list")
    which: str = Field("", max_length=100, examples=["17"])
    span: Duration = Field(timedelta(days=1), alias="for", examples=["1d"])

    async def run(self, ctx: Context) -> Replies:
        alerts = ctx.services.alerts
        await alerts.catch_up()
        if self.do == "list":
            yield _listed(ctx)
            return
        if not self.which:
            raise UserError(t("alerts.which", do=self.do))
        if self.do == "ack":
            affected = alerts.acknowledge(self.which, ctx.user.name)
            yield Reply(t("alerts.acknowledged", count=len(affected), which=self.which), private=True)
        else:
            affected = alerts.silence(self.which, self.span)
            text = t("alerts.silenced", count=len(affected), which=self.which, span=self.span)
            yield Reply(text, private=True)


def _listed(ctx: Context) -> Reply:
    """Every open alert in a line."""
    alerts, state = ctx.services.alerts.open(), ctx.services.alerts.state
    if not alerts:
        return Reply(t("alerts.none"), Tone.READY)
    now = ctx.services.clock.now()
    lines = [
        t("alerts.silent", what=headline(alert), until=state.silenced[alert.fingerprint])
        if state.is_silenced(alert, now)
        else headline(alert)
        for alert in alerts
    ]
    return Reply(t("alerts.title", count=len(alerts)), Tone.FAILED, lines=tuple(lines))
