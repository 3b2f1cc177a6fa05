"""/llm gpus — what is free on each node, and who has the rest."""

from bot.core.chat.reply import Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.ports import GpuNode
from bot.grammar.command import Command, Context, Group, Replies


class Gpus(Command):
    verb = "gpus"
    group = Group.SEE
    examples = ("gpus",)

    async def run(self, ctx: Context) -> Replies:
        nodes = ctx.services.cluster.nodes()
        if not nodes:
            yield Reply(t("gpus.unknown"), lines=(t("gpus.unknown_hint"),))
            return
        owners = {w.name: w.record.owner_name for w in ctx.services.cluster.workloads()}
        free = sum(node.free for node in nodes)
        header = ("node", "total", "free", "used")
        yield Reply(
            t("gpus.title", free=free, total=sum(node.total for node in nodes)),
            table=Table(
                tuple(t(f"gpus.{name}") for name in header),
                tuple(row(node, owners) for node in nodes),
            ),
            lines=(t("gpus.largest", tp=max(node.free for node in nodes)),),
        )


def row(node: GpuNode, owners: dict[str, str]) -> tuple[Text, ...]:
    """The row of a node; `owners` are names of people by name of their workload."""
    holders = [
        f"{count} × {name}" + (f" ({owners[name]})" if name in owners else "")
        for name, count in sorted(node.used.items())
    ]
    used = ", ".join(holders) or "–"
    return (
        verbatim(node.name) if node.schedulable else t("gpus.cordoned", node=node.name),
        verbatim(str(node.total)),
        verbatim(str(node.free)),
        verbatim(used),
    )
