"""/llm simulate fail CAUSE NAME — in the demo alone: let a model fail, to see what that looks like."""

from typing import Literal, Protocol, runtime_checkable

from pydantic import Field

from bot.core.access.roles import Role
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import t
from bot.core.deployment.workload import Phase
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import WorkloadName


@runtime_checkable
class Breakable(Protocol):
    """A cluster whose models can be made to fail."""

    causes: tuple[str, ...]
    """The causes that it can simulate."""

    def fail(self, name: str, cause: str) -> None:
        """Let the workload's servers crash now, with one of the causes."""


class Simulate(Command):
    verb = "simulate"
    needs = Role.ADMIN
    group = Group.SEE
    examples = ("simulate fail cuda_oom llama-3-8b",)

    what: Literal["fail"] = Field(examples=["fail"])
    cause: str = Field(examples=["cuda_oom"])
    name: WorkloadName

    async def run(self, ctx: Context) -> Replies:
        cluster = ctx.services.cluster
        workload = ctx.services.lifecycle.find(self.name)
        if not isinstance(cluster, Breakable) or self.cause not in cluster.causes:
            causes = cluster.causes if isinstance(cluster, Breakable) else ()
            raise UserError(t("simulate.unknown", cause=self.cause, causes=causes))
        if workload.phase is Phase.ASLEEP:
            wake = Button(t("button.wake"), f"wake {workload.name}")
            raise UserError(t("simulate.asleep", name=workload.name), buttons=(wake,))
        if workload.phase is Phase.QUEUED:
            raise UserError(t("simulate.queued", name=workload.name))
        cluster.fail(workload.name, self.cause)
        yield Reply(t("simulate.done", name=workload.name), private=True)
