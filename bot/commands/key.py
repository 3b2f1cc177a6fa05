"""/llm key NAME — how to read a model's API key; the key itself is never said in chat."""

from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


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
