"""Replies of every kind: how each platform draws them stands in golden/."""

from datetime import timedelta
from pathlib import Path

from bot.core.chat.form import Blank, Choice, Form
from bot.core.chat.reply import Button, Reply, Table, Tone
from bot.core.chat.text import t, verbatim
from bot.core.chat.units import Tokens

GOLDEN = Path(__file__).parent / "golden"
TOO_BIG = t("fit.weights", weights=14.96, usable=14.19)
ABOUT = "llama-3-8b@2030-01-01T12:00:00+00:00"
FORM = Form(
    t("form.deploy"),
    "deploy",
    (
        Blank("model", t("field.model"), (Choice("tinyllama", verbatim("tinyllama")),), required=True),
        Blank("ttl", t("field.ttl"), value="4h"),
    ),
    t("button.deploy"),
    check="plan",
)
REPLIES = {
    "card": Reply(
        t("card.ready", name="llama-3-8b", took=timedelta(seconds=252)),
        Tone.READY,
        lines=(t("card.address", url="http://llm-llama-3-8b.w123.svc:8000/v1", name="llama-3-8b"),),
        buttons=(
            Button(t("button.logs"), "logs llama-3-8b", about=ABOUT),
            Button(
                t("button.stop"),
                "stop llama-3-8b",
                confirm=t("button.stop_confirm", name="llama-3-8b"),
                about=ABOUT,
            ),
        ),
    ),
    "refusal": Reply(
        t("plan.too_big", model="llama-3-8b", count=1, gpu="V100", memory=16, why=TOO_BIG),
        Tone.FAILED,
        buttons=(
            Button(
                verbatim("tp=2"),
                "deploy llama-3-8b tp=2",
                t("plan.detail", format="fp16", count=2, context=Tokens(8192)),
            ),
            Button(
                verbatim("quant=gptq tp=1"),
                "deploy llama-3-8b quant=gptq",
                t("plan.detail", format="4-bit", count=1, context=Tokens(8192)),
            ),
        ),
        private=True,
    ),
    "table": Reply(
        t("gpus.title", free=6, total=8),
        table=Table(
            (t("gpus.node"), t("gpus.free")),
            ((verbatim("icc-gpu-1"), verbatim("2")), (verbatim("icc-gpu-2"), verbatim("4"))),
        ),
    ),
    "fields": Reply(
        verbatim("x"),
        Tone.QUEUED,
        fields=((t("status.phase"), t("phase.queued")), (t("status.owner"), verbatim("ada"))),
    ),
    "answer": Reply(
        answer="**Paged** attention\n\n```python\nx = 1\n```",
        footnote=t("ask.footnote", model="m", count=2, rate=41.5),
    ),
    "log": Reply(t("logs.title", name="m", count=2), log="INFO one\nINFO two"),
    "hostile": Reply(answer="\x1b[2J\x1b]0;title\x07gone\x9b31m\u202edrawkcab\r\ttab"),
    "missing": Reply(t("slip.missing", option="model"), Tone.FAILED, form=FORM, private=True),
}
