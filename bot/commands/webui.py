"""/llm webui [stop] — a web page to talk to the models, for everyone of the namespace."""

from enum import StrEnum

from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies


class Action(StrEnum):
    """What to do with Open WebUI."""

    START = "start"
    STOP = "stop"


class Webui(Command):
    verb = "webui"
    group = Group.USE
    examples = ("webui", "webui stop")

    action: Action = Action.START

    async def run(self, ctx: Context) -> Replies:
        service = ctx.services.web_ui
        if self.action is Action.STOP:
            await service.stop(ctx.user)
            yield Reply(t("webui.stopped"), tone=Tone.ASLEEP)
            return
        web_ui = service.state()
        if web_ui is None:
            await service.start(ctx.user)
            web_ui = service.state()
        models = web_ui.connected if web_ui else ()
        ready = web_ui is not None and web_ui.ready
        yield Reply(
            t("webui.ready" if ready else "webui.starting"),
            tone=Tone.READY if ready else Tone.LOADING,
            lines=(t("webui.models", names=models) if models else t("webui.no_models"),),
            log=web_ui.url or web_ui.reach if web_ui else "",
            buttons=(Button(t("button.stop"), "webui stop"),),
        )
