"""Replies about a plan: what would run, or why it does not fit and what does, each as a command."""

from typing import Any

from bot.core.chat.errors import UserError, refusal
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Text, t, verbatim
from bot.core.chat.units import Tokens
from bot.core.deployment.cards import headline, memory_line
from bot.core.fit.gpu import FORMATS, Gpu, Quantization
from bot.core.fit.planning import Option, PlanResult, spec_of
from bot.core.fit.vram import ABOUT_MEMORY
from bot.grammar.fields import ModelRequest


def refuse(verdict: PlanResult, command: ModelRequest, gpu: Gpu) -> UserError:
    """The refusal of a request that does not fit, with a button for each alternative."""
    first, *others = verdict.reasons
    return UserError(
        reason(first, verdict.option, gpu),
        lines=tuple(others),
        buttons=tuple(offer(option, verdict, command) for option in verdict.alternatives),
    )


def judgement(verdict: PlanResult, command: ModelRequest, gpu: Gpu) -> Reply:
    """The answer to `plan`: what would run and where the memory goes; or why it does not fit, and what
    does."""
    if not verdict.fits:
        return refusal(refuse(verdict, command, gpu))
    option = verdict.option
    spec = spec_of(option, option.entry.key, 1)
    lines = [memory_line(spec), _budget(option)]
    if option.entry.gated:
        lines.append(t("plan.gated", repo=option.entry.repo))
    return Reply(
        headline(spec, gpu.label, smallest=command.tensor_parallel_size is None),
        lines=tuple(lines),
        buttons=(Button(t("button.deploy"), deployment(command)),),
    )


def _budget(option: Option) -> Text:
    """Where each GPU's memory goes."""
    setup, fit = option.setup, option.fit
    return t(
        "plan.budget",
        usable=setup.gpu.memory_gib * setup.gpu_memory_utilization,
        weights=fit.weights_gib,
        activation=fit.activation_gib,
        cache=fit.kv_cache_gib,
    )


def unknown(command: ModelRequest, similar: list[str], error: UserError) -> UserError:
    """The error about a model that does not exist, with the same command for each similar name."""
    lines = [command.line(model=name) for name in similar]
    buttons = tuple(Button(verbatim(f"/llm {line}"), line) for line in lines)
    return UserError(error.text, lines=error.lines, buttons=buttons)


def reason(text: Text, option: Option, gpu: Gpu) -> Text:
    """A reason as a sentence that says what it is about."""
    if text.key not in ABOUT_MEMORY:
        return text
    return t(
        "plan.too_big",
        model=option.entry.key,
        count=option.setup.tensor_parallel_size,
        gpu=gpu.label,
        memory=gpu.marketed_gb,
        why=text,
    )


def deployment(command: ModelRequest, **changes: Any) -> str:
    """The line that deploys what a request is about, with some fields changed."""
    return f"deploy{command.line(**changes).removeprefix(command.verb)}"


def offer(option: Option, verdict: PlanResult, command: ModelRequest) -> Button:
    """A button for an alternative; its label is what to type differently."""
    setup, label = option.setup, []
    changes: dict[str, Any] = {}
    if option.entry.key != verdict.option.entry.key:
        changes["model"] = option.entry.key
        label.append(option.entry.key)
    changes["quantization"] = None if setup.quantization is Quantization.NONE else setup.quantization
    changes["tensor_parallel_size"] = setup.tensor_parallel_size
    if command.max_model_len not in (None, setup.max_model_len):
        changes["max_model_len"] = setup.max_model_len
        label.append(f"max-len={setup.max_model_len}")
    if changes["quantization"]:
        label.append(f"quant={setup.quantization}")
    label.append(f"tp={setup.tensor_parallel_size}")
    detail = t(
        "plan.detail",
        format=FORMATS[setup.quantization].label,
        count=setup.tensor_parallel_size,
        context=Tokens(setup.max_model_len),
    )
    return Button(verbatim(" ".join(label)), deployment(command, **changes), detail)
