"""From what a person asked for to what would run: defaults, verdict, and the nearest things that fit."""

import re
from collections.abc import Iterator
from dataclasses import replace

from bot.core.chat.errors import UserError
from bot.core.chat.text import Text, t
from bot.core.fit.catalog import Catalog, CatalogEntry
from bot.core.fit.gpu import FORMATS, Gpu, Quantization
from bot.core.fit.request import Option, PlanRequest, PlanResult
from bot.core.fit.shape import SPELLED, Shape
from bot.core.fit.vram import ABOUT_MEMORY, Fit, Setup, capability_reason, context_cap, fit, legal_sizes

DEFAULT_CONTEXT = 8192
SHORTER_CONTEXTS = (32768, 16384, 8192, 4096, 2048)
SUBSTITUTES = (
    Quantization.GPTQ,
    Quantization.GPTQ_INT8,
    Quantization.NONE,
    Quantization.BITSANDBYTES,  # last: vLLM quantises while loading and answers slowly
)
REPO = re.compile(r"[\w][\w.-]*/[\w.-]+")
NAMED_FORMAT = {
    "awq": Quantization.AWQ,
    "fp8": Quantization.FP8,
    "gguf": Quantization.GGUF,
    "gptq-int8": Quantization.GPTQ_INT8,
    "gptq-8bit": Quantization.GPTQ_INT8,
    "gptq": Quantization.GPTQ,
}


class Planner:
    """Judges requests for one GPU model."""

    def __init__(self, catalog: Catalog, gpu: Gpu) -> None:
        self.catalog = catalog
        self.gpu = gpu
        self._least: dict[str, Option | None] = {}

    def judge(self, request: PlanRequest) -> PlanResult:
        """The verdict; UserError when the model is unknown or its shape is."""
        card, implied = self.card(request)
        if request.quantization is None and implied is not Quantization.NONE:
            request = replace(request, quantization=implied)
        if refusal := card.refusal(self.gpu):
            nothing = Option(card, self._setup(request), Fit(0, 0, 0, 0, (refusal,)))
            return PlanResult(nothing, (refusal,), tuple(self._instead(card)))
        if card.shape is None:
            raise UserError(t("model.no_shape", model=card.key, spelled=SPELLED))
        option = self._best(card, card.shape, request)
        reasons = (*self._source_reasons(card, option.setup.quantization), *option.fit.reasons)
        nearest = () if not reasons else tuple(self._alternatives(card, card.shape, request))
        return PlanResult(option, reasons, nearest)

    def least(self, card: CatalogEntry) -> Option | None:
        """The way to start it on the fewest GPUs, in fp16 or else quantised; None if there is none."""
        if card.key not in self._least:
            verdict = self.judge(PlanRequest(card.key)) if card.refusal(self.gpu) is None else None
            options = () if verdict is None else verdict.alternatives
            self._least[card.key] = verdict.option if verdict and verdict.fits else next(iter(options), None)
        return self._least[card.key]

    def card(self, request: PlanRequest) -> tuple[CatalogEntry, Quantization]:
        """The model's card, made up from `shape` for a repository that the catalog does not know."""
        if known := self.catalog.find(request.model):
            return known
        if REPO.fullmatch(request.model):
            if request.shape is None:
                raise UserError(
                    t("model.unknown_shape", model=request.model, spelled=SPELLED),
                    lines=self._did_you_mean(request.model),
                )
            name = re.sub(r"[^a-z0-9.]+", "-", request.model.split("/")[1].lower()).strip("-.")
            format_ = next((q for tag, q in NAMED_FORMAT.items() if tag in name), Quantization.NONE)
            quantized = {} if format_ is Quantization.NONE else {format_: request.model}
            card = CatalogEntry(
                key=name[:40].strip("-."),
                repo=request.model,
                shape=request.shape,
                quantized=quantized,
            )
            return card, format_
        raise UserError(t("model.unknown", model=request.model))

    def _did_you_mean(self, name: str) -> tuple[Text, ...]:
        alike = self.catalog.alike(name.split("/")[-1])
        return (t("model.alike", names=tuple(alike)),) if alike else ()

    def _setup(self, request: PlanRequest) -> Setup:
        return Setup(
            self.gpu,
            request.tensor_parallel_size or 1,
            request.quantization or Quantization.NONE,
            request.max_model_len or DEFAULT_CONTEXT,
            request.gpu_memory_utilization,
        )

    def _best(self, card: CatalogEntry, shape: Shape, request: PlanRequest) -> Option:
        """The smallest tensor parallel size that fits; else the one that has the least against it."""
        options = list(self._options(card, shape, request))
        fitting = (option for option in options if option.fit.fits)
        return next(fitting, min(options, key=_objections))

    def _options(self, card: CatalogEntry, shape: Shape, request: PlanRequest) -> Iterator[Option]:
        """Longest context first, fewest GPUs first."""
        quantization = request.quantization or Quantization.NONE
        asked = request.tensor_parallel_size
        sizes = [asked] if asked else legal_sizes(shape, self.gpu, quantization) or [1]
        for length in self._lengths(shape, request):
            for tp in sizes:
                setup = replace(
                    self._setup(request),
                    tensor_parallel_size=tp,
                    quantization=quantization,
                    max_model_len=length,
                )
                yield Option(card, setup, fit(shape, setup))

    def _lengths(self, shape: Shape, request: PlanRequest) -> list[int]:
        """The context asked for; or 8k, or less where only less fits."""
        if request.max_model_len:
            return [request.max_model_len]
        cap = context_cap(shape, self.gpu)
        return [min(DEFAULT_CONTEXT, cap), *(n for n in (4096, 2048) if n < cap)]

    def _source_reasons(self, card: CatalogEntry, quantization: Quantization) -> list[Text]:
        if card.repo_for(quantization) or capability_reason(FORMATS[quantization], self.gpu):
            return []  # a format that cannot run needs no repository
        return [t("fit.no_repo", model=card.key, format=FORMATS[quantization].label)]

    def _alternatives(self, card: CatalogEntry, shape: Shape, request: PlanRequest) -> Iterator[Option]:
        """At most three: more GPUs, another format, a shorter context. Each differs and fits."""
        asked = request.quantization or Quantization.NONE
        seen: set[tuple[int, Quantization, int]] = set()
        for wish in self._wishes(request, asked):
            quantization = wish.quantization or Quantization.NONE
            if card.repo_for(quantization) is None:
                continue
            option = self._best(card, shape, wish)
            setup = option.setup
            key = (setup.tensor_parallel_size, setup.quantization, setup.max_model_len)
            if option.fit.fits and key not in seen and len(seen) < 3:
                seen.add(key)
                yield option

    def _wishes(self, request: PlanRequest, asked: Quantization) -> Iterator[PlanRequest]:
        free = replace(request, tensor_parallel_size=None)
        yield replace(free, quantization=asked)
        for length in SHORTER_CONTEXTS:
            if request.max_model_len and length < request.max_model_len:
                yield replace(request, max_model_len=length)
                yield replace(free, max_model_len=length)
        for quantization in SUBSTITUTES:
            yield replace(request, quantization=quantization)
            yield replace(free, quantization=quantization)
            yield replace(free, quantization=quantization, max_model_len=None)

    def _instead(self, card: CatalogEntry) -> Iterator[Option]:
        for name in card.refused.instead if card.refused else ():
            verdict = self.judge(PlanRequest(name))
            yield verdict.option if verdict.fits else verdict.alternatives[0]


def _objections(option: Option) -> tuple[int, int]:
    """Fewest first; where memory is short, the most GPUs first: more would not help either."""
    tp = option.setup.tensor_parallel_size
    short = any(reason.key in ABOUT_MEMORY for reason in option.fit.reasons)
    return len(option.fit.reasons), -tp if short else tp
