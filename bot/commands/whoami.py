"""/llm whoami — your role, what you may hold, and what you hold."""

from bot.core.chat.reply import Reply
from bot.core.chat.text import Text, t, verbatim
from bot.grammar.command import Command, Context, Group, Replies


class Whoami(Command):
    verb = "whoami"
    group = Group.SEE
    examples = ("whoami",)

    async def run(self, ctx: Context) -> Replies:
        access, cluster = ctx.services.access, ctx.services.cluster
        quota = access.quota(ctx.user)
        own_workloads = cluster.owned_by(ctx.user.id)
        held = sum(workload.gpus_held for workload in own_workloads)
        fields = (
            ("role", access.role(ctx.user).label),
            ("namespace", verbatim(cluster.namespace)),
            ("gpus", _of(held, quota.gpus)),
            ("deployments", _of(len(own_workloads), quota.deployments)),
            ("tp", _limit(quota.tensor_parallel_size)),
            ("ttl", t("status.span", span=quota.ttl) if quota.ttl else t("whoami.no_limit")),
        )
        yield Reply(
            t("whoami.title", name=ctx.user.name, id=ctx.user.id),
            fields=tuple((t(f"whoami.{name}"), value) for name, value in fields),
            private=True,
        )


def _of(held: int, limit: int | None) -> Text:
    if limit is None:
        return t("whoami.unlimited", held=held)
    return t("whoami.of", held=held, limit=limit)


def _limit(limit: int | None) -> Text:
    return t("whoami.no_limit") if limit is None else verbatim(str(limit))
