"""/llm home — your deployments, what is free, and what could start now."""

from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Text, t, verbatim
from bot.core.deployment.workload import Workload
from bot.grammar.command import Command, Context, Group, Replies

OFFERED = 8
"""Models that are named at most."""


class Home(Command):
    verb = "home"
    group = Group.SEE
    examples = ("home",)

    async def run(self, ctx: Context) -> Replies:
        nodes, planner = ctx.services.cluster.nodes(), ctx.services.planner
        own_workloads = ctx.services.cluster.owned_by(ctx.user.id)
        held = sum(workload.gpus_held for workload in own_workloads)
        allowed = ctx.services.access.quota(ctx.user).largest_more(held, len(own_workloads))
        free = max((node.free for node in nodes), default=0)
        largest = free if allowed is None else min(free, allowed)
        fitting = [
            entry.key
            for entry in planner.catalog.entries.values()
            if (option := planner.smallest_option(entry)) and option.setup.tensor_parallel_size <= largest
        ]
        none = t("home.full") if not free or allowed is None else t("home.limit")
        yield Reply(
            t("home.title", free=sum(node.free for node in nodes), total=sum(node.total for node in nodes)),
            lines=(t("home.mine", count=len(own_workloads)) if own_workloads else t("home.none"),),
            fields=tuple((verbatim(workload.name), _state(workload)) for workload in own_workloads),
            footnote=t("home.fits", models=fitting[:OFFERED]) if fitting else none,
            buttons=(
                Button(t("button.deploy_new"), "deploy"),
                *(Button(t(f"button.{verb}"), verb) for verb in ("status", "gpus", "models")),
            ),
            private=True,
        )


def _state(workload: Workload) -> Text:
    return t(
        "home.state",
        phase=workload.phase.label,
        gpus=workload.gpus_held,
        model=workload.spec.model,
    )
