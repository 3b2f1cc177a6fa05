"""/llm models [FILTER] — what can be deployed."""

from pydantic import Field

from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.chat.units import Tokens
from bot.core.fit.catalog import CatalogEntry
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.fit.planning import Option, Planner
from bot.grammar.command import Command, Context, Group, Replies


class Models(Command):
    verb = "models"
    group = Group.RUN
    examples = ("models", "models qwen")

    filter: str | None = Field(None, max_length=60, examples=["qwen"])

    async def run(self, ctx: Context) -> Replies:
        planner = ctx.services.planner
        wanted = (self.filter or "").lower()
        entries = [
            entry
            for entry in planner.catalog.entries.values()
            if wanted in " ".join((entry.key, entry.repo.lower(), *entry.aliases))
        ]
        if not entries:
            alike = planner.catalog.similar_names(wanted)
            yield Reply(
                t("models.none", filter=wanted),
                buttons=tuple(Button(verbatim(key), f"plan {key}") for key in alike),
            )
            return
        usable = [entry for entry in entries if entry.refusal(planner.gpu) is None]
        refused = tuple(text for entry in entries if (text := entry.refusal(planner.gpu)) is not None)
        header = ("model", "parameters", "tp", "context", "quantized", "licence")
        yield Reply(
            t("models.title", count=len(usable), gpu=planner.gpu.label)
            if usable
            else t("models.refused_all", gpu=planner.gpu.label),
            table=Table(
                tuple(t(f"models.{name}") for name in header),
                tuple(row(entry, planner) for entry in usable),
            )
            if usable
            else None,
            lines=refused if wanted else (t("models.refused", count=len(refused)),),
            footnote=t("models.hint"),
        )


def row(entry: CatalogEntry, planner: Planner) -> tuple[Text, ...]:
    """One line of the table: the smallest tp that fits, in fp16 or else in a quantised format."""
    option = planner.smallest_option(entry)
    formats = [q for q in entry.quantized if FORMATS[q].capability <= planner.gpu.capability]
    return (
        verbatim(entry.key),
        _parameters(entry),
        _smallest(option),
        t("models.tokens", tokens=Tokens(option.setup.max_model_len)) if option else verbatim("–"),
        verbatim(", ".join(formats) or "–"),
        t("models.gated", licence=entry.licence) if entry.gated else verbatim(entry.licence),
    )


def _parameters(entry: CatalogEntry) -> Text:
    if entry.shape is None:
        return verbatim("?")
    return t("models.billion", count=round(entry.shape.parameters / 1e9, 1))


def _smallest(option: Option | None) -> Text:
    if option is None:
        return verbatim("–")
    tp = str(option.setup.tensor_parallel_size)
    quantized = option.setup.quantization is not Quantization.NONE
    return verbatim(f"{tp} ({option.setup.quantization})" if quantized else tp)
