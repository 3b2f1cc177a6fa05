"""Commands without a chat and without a cluster: plan and render."""

import getpass
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

import yaml
from pydantic import Field

from bot.app import wiring
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.manifests import workload_objects
from bot.commands.deploy import Deploy
from bot.commands.plan import Plan
from bot.core.chat.duration import end_of
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.names import check_name
from bot.core.deployment.record import Record
from bot.core.fit.gpu import PROFILES, Gpu, GpuName
from bot.core.fit.planning import Planner
from bot.core.fit.request import PlanRequest, PlanResult, spec_of
from bot.core.fit.shape import Shape, shape_from_config
from bot.grammar.command import Command, Context, Group, Replies
from bot.grammar.fields import ModelRequest
from bot.grammar.parsing import parse
from bot.grammar.plan_replies import judgement, offer, refuse, unknown
from bot.platforms.console.render import render as draw
from bot.platforms.shared.platform import Say

Asked = TypeVar("Asked", bound=Command)
FITS, DOES_NOT_FIT, BAD_INPUT = 0, 1, 2


class OfflinePlan(ModelRequest):
    """As in chat, and for any GPU and any config.json."""

    verb: ClassVar[str] = "plan"
    group: ClassVar[Group] = Group.RUN

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
        said = {n: getattr(self, n) for n in self.model_fields_set & set(Plan.model_fields)}
        return Plan.model_construct(**said)

    def chosen_gpu(self, usual: str) -> Gpu:
        """The GPU to plan for."""
        gpu = PROFILES[self.gpu or usual]
        return gpu._replace(memory_gib=self.gpu_mem) if self.gpu_mem else gpu


def plan(words: list[str], settings: Settings) -> int:
    """`plan MODEL [key=value…] [--gpu NAME] [--gpu-mem GIB] [--config FILE] [--json]`."""
    say = speaker(settings)
    try:
        asked = _parse(["plan", *words], OfflinePlan, settings)
        planner = Planner(wiring.planner(settings).catalog, asked.chosen_gpu(settings.gpu))
        try:
            verdict = planner.judge(asked.with_config())
        except UserError as error:
            raise unknown(asked, planner.catalog.alike(asked.model), error) from None
    except UserError as error:
        _complain(error, say)
        return BAD_INPUT
    if asked.json_output:
        answer = _as_dict(verdict, asked, planner.gpu, say)
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        print(draw(judgement(verdict, asked.in_chat(), planner.gpu), say))
    return FITS if verdict.fits else DOES_NOT_FIT


def render(words: list[str], settings: Settings) -> int:
    """`render deploy MODEL [key=value…]`: the manifests on standard output."""
    say = speaker(settings)
    try:
        asked = _parse(words, Deploy, settings)
        planner = wiring.planner(settings)
        verdict = planner.judge(asked.request())
        if not verdict.fits:
            raise refuse(verdict, asked, planner.gpu)
    except UserError as error:
        _complain(error, say)
        return BAD_INPUT
    name = check_name((asked.name or verdict.option.card.key).lower())
    now, user = datetime.now(UTC), getpass.getuser()
    ends = end_of(now, asked.ttl, ZoneInfo(settings.timezone)) if asked.ttl else None
    record = Record(
        owner=user,
        owner_name=user,
        start_requested_at=now,
        lease_ends_at=ends,
        idle_window=asked.idle,
        office_hours=asked.hours or "",
    )
    spec = spec_of(verdict.option, name, asked.replicas, asked.shape)
    objects = workload_objects(spec, record, wiring.workload_settings(settings), ENGINE)
    print(yaml.safe_dump_all(objects.values(), sort_keys=False, allow_unicode=True), end="")
    return FITS


def _parse(words: list[str], command: type[Asked], settings: Settings) -> Asked:
    """The words of a shell as a line of chat; only this one command is known here."""
    line = " ".join(_word(word) for word in words)
    catalog = wiring.planner(settings).catalog
    found = parse(line, {command.verb: command}, lambda of: catalog.names())
    assert isinstance(found, command)
    return found


def _word(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _read_config(file: str) -> Shape:
    try:
        return shape_from_config(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise UserError(t("plan.bad_config", file=file, why=why)) from None


def _as_dict(verdict: PlanResult, asked: OfflinePlan, gpu: Gpu, say: Say) -> dict[str, Any]:
    """The verdict for programs: GiB and tokens per GPU."""
    option = verdict.option
    setup, fit = option.setup, option.fit
    return {
        "fits": verdict.fits,
        "model": option.card.key,
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


def _complain(error: UserError, say: Say) -> None:
    reply = Reply(error.text, Tone.FAILED, lines=error.lines, buttons=error.buttons)
    print(draw(reply, say), file=sys.stderr)


def speaker(settings: Settings) -> Say:
    """Speaks the language that settings name."""
    phrases = wiring.phrasebook(settings)
    return lambda text: phrases.say(text, settings.language)
