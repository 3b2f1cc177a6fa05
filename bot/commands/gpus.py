"""/llm gpus — what is free on each node, and who has the rest."""

from collections.abc import Mapping

from bot.core.chat.reply import Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.deployment.workload import Phase, Workload
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
        workloads = {workload.name: workload for workload in ctx.services.cluster.workloads()}
        free = sum(node.free for node in nodes)
        header = ("node", "total", "free", "used")
        yield Reply(
            t("gpus.title", free=free, total=sum(node.total for node in nodes)),
            table=Table(
                tuple(t(f"gpus.{name}") for name in header),
                tuple(row(node, workloads) for node in nodes),
            ),
            lines=(t("gpus.largest", tp=max(node.free for node in nodes)),),
        )


def row(node: GpuNode, workloads: Mapping[str, Workload]) -> tuple[Text, ...]:
    """The row of a node; `workloads` are the bot's, by name."""
    holders = tuple(_holder(count, name, workloads.get(name)) for name, count in sorted(node.used.items()))
    return (
        verbatim(node.name) if node.schedulable else t("gpus.cordoned", node=node.name),
        verbatim(str(node.total)),
        verbatim(str(node.free)),
        t("verbatim", words=holders) if holders else verbatim("–"),
    )


def _holder(count: int, name: str, workload: Workload | None) -> Text:
    """`2 × qwen2.5-7b (ada, loading)`; what it does is left out of one that is ready."""
    if workload is None:
        return verbatim(f"{count} × {name}")
    owner = workload.record.owner_name
    if workload.phase is Phase.READY:
        return verbatim(f"{count} × {name} ({owner})")
    return t("gpus.busy", count=count, name=name, owner=owner, state=workload.phase.label)
