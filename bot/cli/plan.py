"""`python -m bot plan MODEL [key=value…]`: whether a model would fit, without a cluster."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from bot.app import wiring
from bot.app.settings import Settings
from bot.cli.shell import BAD_INPUT, FAILED, OK, asks_for_help, complain, explain, read_arguments, speaker
from bot.commands.plan import Plan
from bot.core.chat.errors import UserError
from bot.core.chat.text import Say, t, verbatim
from bot.core.fit.gpu import PROFILES, Gpu, GpuName
from bot.core.fit.planning import Planner, PlanRequest, PlanResult
from bot.core.fit.shape import BadConfig, Shape, shape_from_config
from bot.grammar.command import Context, Group, Replies
from bot.grammar.fields import ModelRequest
from bot.grammar.plan_replies import judgement, offer, unknown
from bot.platforms.console.render import render as draw


class OfflinePlan(ModelRequest):
    """As in chat, and for any GPU and any config.json."""

    verb: ClassVar[str] = "plan"
    group: ClassVar[Group] = Group.RUN
    examples: ClassVar[tuple[str, ...]] = (
        "plan llama-3-8b tp=2",
        "plan my/model --config config.json --gpu a100-80gb --json",
    )

    gpu: GpuName | None = None
    gpu_mem: float | None = Field(None, alias="gpu-mem", gt=0, le=1024)
    config: str | None = None
    json_output: bool = Field(False, alias="json")

    def run(self, ctx: Context) -> Replies:
        """Never run: there is no chat."""
        raise AssertionError("only parsed")

    def with_config(self) -> PlanRequest:
        """The request; with a config.json, its shape goes before what the catalog knows."""
        request = self.request()
        if self.config is None:
            return request
        model = request.model if "/" in request.model else f"local/{request.model}"
        return replace(request, model=model, shape=_read_config(self.config))

    def in_chat(self) -> Plan:
        """The same, with only what can be said in chat."""
        fields = {name: getattr(self, name) for name in self.model_fields_set & set(Plan.model_fields)}
        return Plan.model_construct(**fields)

    def chosen_gpu(self, usual: str) -> Gpu:
        """The GPU to plan for."""
        gpu = PROFILES[self.gpu or usual]
        return gpu._replace(memory_gib=self.gpu_mem) if self.gpu_mem else gpu


def plan(words: list[str], settings: Settings) -> int:
    """`plan MODEL [key=value…] [--gpu NAME] [--gpu-mem GIB] [--config FILE] [--json]`; OK if it fits, FAILED
    if not, BAD_INPUT if it cannot be told."""
    say = speaker(settings)
    if asks_for_help(words):
        explain(OfflinePlan, "python -m bot", say)
        return OK
    try:
        asked = read_arguments(["plan", *words], OfflinePlan, settings)
        planner = Planner(wiring.planner(settings).catalog, asked.chosen_gpu(settings.gpu))
        request = asked.with_config()
        try:
            verdict = planner.judge(request)
        except UserError as error:
            raise unknown(asked, planner.catalog.similar_names(asked.model), error) from None
    except UserError as error:
        complain(error, say)
        return BAD_INPUT
    if asked.json_output:
        answer = _as_dict(verdict, asked, planner.gpu, say)
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        print(draw(judgement(verdict, asked.in_chat(), planner.gpu), say))
    return OK if verdict.fits else FAILED


def _read_config(file: str) -> Shape:
    try:
        return shape_from_config(json.loads(Path(file).read_text(encoding="utf-8")))
    except BadConfig as error:
        why = error.why
    except OSError as error:
        why = verbatim(error.strerror or "")
    except (ValueError, RecursionError):
        why = t("config.no_json")
    raise UserError(t("plan.bad_config", file=file, why=why))


def _as_dict(verdict: PlanResult, asked: OfflinePlan, gpu: Gpu, say: Say) -> dict[str, Any]:
    """The verdict for programs: GiB and tokens per GPU."""
    option = verdict.option
    setup, fit = option.setup, option.fit
    return {
        "fits": verdict.fits,
        "model": option.entry.key,
        "gpu": gpu.name,
        "tp": setup.tensor_parallel_size,
        "quantization": setup.quantization.value,
        "max_model_len": setup.max_model_len,
        "weights_gib_per_gpu": round(fit.weights_gib, 2),
        "activation_gib_per_gpu": round(fit.activation_gib, 2),
        "kv_cache_gib_per_gpu": round(fit.kv_cache_gib, 2),
        "kv_cache_tokens": fit.kv_cache_tokens,
        "reasons": [say(text) for text in verdict.reasons],
        "alternatives": [
            {
                "tp": o.setup.tensor_parallel_size,
                "quantization": o.setup.quantization.value,
                "max_model_len": o.setup.max_model_len,
                "command": offer(o, verdict, asked.in_chat()).command,
            }
            for o in verdict.alternatives
        ],
    }
