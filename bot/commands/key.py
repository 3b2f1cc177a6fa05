"""/llm key NAME — how to read a model's API key; the key itself is never said in chat."""

from bot.commands.base import Command, Context, Group, Replies
from bot.commands.fields import WorkloadName
from bot.core.reply import Reply
from bot.core.text import t


class Key(Command):
    verb = "key"
    group = Group.USE
    examples = ("key llama-3-8b",)

    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        cluster = ctx.services.cluster
        workload = ctx.services.lifecycle.own(self.name, ctx.user)
        yield Reply(
            t("key.how", name=workload.name, url=f"{cluster.address(workload.name)}/v1"),
            log=cluster.key_command(workload.name),
            private=True,
        )
