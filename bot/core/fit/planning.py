"""The planner: what would run if somebody asks for a model, whether it fits, and what would fit instead."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bot.core.chat.errors import UserError
from bot.core.chat.text import Text, t
from bot.core.deployment.workload import Spec
from bot.core.fit.catalog import Catalog, CatalogEntry
from bot.core.fit.gpu import FORMATS, Gpu, Quantization
from bot.core.fit.shape import SPELLED, Shape
from bot.core.fit.vram import ABOUT_MEMORY, Fit, Setup, capability_reason, context_cap, fit, legal_sizes

DEFAULT_CONTEXT = 8192
"""The context in tokens if a person asks for none."""
SHORTER_CONTEXTS = (32768, 16384, 8192, 4096, 2048)
"""Contexts in tokens that are tried instead of a longer one."""
SUBSTITUTES = (
    Quantization.GPTQ,
    Quantization.GPTQ_INT8,
    Quantization.NONE,
    Quantization.BITSANDBYTES,  # last: vLLM quantises while loading and answers slowly
)
"""Formats that are tried instead of another one, the best first."""
GRAPHS_UTILISATION = 0.9
"""CUDA graphs live outside vLLM's budget: above this share, or with less than twice the cache that
one longest request needs, the model is started with --enforce-eager."""
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/(?=[._-]*[A-Za-z0-9])[\w.-]{1,96}", re.ASCII)
"""A repository of the Hugging Face Hub."""
NAMED_FORMAT = {
    "awq": Quantization.AWQ,
    "fp8": Quantization.FP8,
    "gguf": Quantization.GGUF,
    "gptq-int8": Quantization.GPTQ_INT8,
    "gptq-8bit": Quantization.GPTQ_INT8,
    "gptq": Quantization.GPTQ,
}
"""Formats by the part of a repository's name that stands for them; the first that is found counts."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a person asked for. None leaves the choice to the planner."""

    model: str
    """The model's key, alias or repository, as it was typed."""
    tensor_parallel_size: int | None = None
    """GPUs of one replica."""
    quantization: Quantization | None = None
    """The format of the weights."""
    max_model_len: int | None = None
    """The context in tokens."""
    gpu_memory_utilization: float = 0.9
    """The share of each GPU's memory that the engine may use, above 0 up to 1."""
    shape: Shape | None = None
    """The shape of a repository that is not in the catalog; None: the model is in the catalog."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to start a model."""

    entry: CatalogEntry
    """The model."""
    setup: Setup
    """On how many GPUs, in which format and with which context."""
    fit: Fit
    """Whether that fits, and what memory it takes."""


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The planner's verdict about a request."""

    option: Option
    """The best way to start what was asked for, whether or not it fits."""
    reasons: tuple[Text, ...]
    """Why it cannot be started, the weightiest first; empty: it can."""
    alternatives: tuple[Option, ...]
    """At most three other ways that fit, the nearest to the request first; empty if the request fits."""

    @property
    def fits(self) -> bool:
        """It can be started."""
        return not self.reasons


class Planner:
    """Judges requests for models on GPUs of one kind."""

    def __init__(self, catalog: Catalog, gpu: Gpu) -> None:
        self.catalog = catalog
        """The models that it knows."""
        self.gpu = gpu
        """The GPUs that it judges for."""
        self._smallest_options: dict[str, Option | None] = {}

    def judge(self, request: PlanRequest) -> PlanResult:
        """The verdict; UserError when the model or its shape is not known."""
        entry, named_format = self.find_entry(request)
        if request.quantization is None and named_format is not Quantization.NONE:
            request = replace(request, quantization=named_format)
        if refusal := entry.refusal(self.gpu):
            refused = Option(entry, self._setup(request), Fit(0, 0, 0, 0, (refusal,)))
            return PlanResult(refused, (refusal,), tuple(self._instead(entry)))
        if entry.shape is None:
            raise UserError(t("model.no_shape", model=entry.key, spelled=SPELLED))
        option = self._best(entry, entry.shape, request)
        reasons = (*self._source_reasons(entry, option.setup.quantization), *option.fit.reasons)
        nearest = () if not reasons else tuple(self._alternatives(entry, entry.shape, request))
        return PlanResult(option, reasons, nearest)

    def smallest_option(self, entry: CatalogEntry) -> Option | None:
        """The way to start it on the fewest GPUs, in fp16 or else quantised; None if there is none."""
        if entry.key not in self._smallest_options:
            verdict = self.judge(PlanRequest(entry.key)) if entry.refusal(self.gpu) is None else None
            options = () if verdict is None else verdict.alternatives
            self._smallest_options[entry.key] = (
                verdict.option if verdict and verdict.fits else next(iter(options), None)
            )
        return self._smallest_options[entry.key]

    def find_entry(self, request: PlanRequest) -> tuple[CatalogEntry, Quantization]:
        """The model's entry, and the format that its name stands for (`none` if it stands for none).

        For a repository that is not in the catalog the entry is made from the request's shape; UserError if
        it has none, or if there is no such model."""
        if found := self.catalog.find(request.model):
            return found
        if REPO.fullmatch(request.model):
            if request.shape is None:
                raise UserError(
                    t("model.unknown_shape", model=request.model, spelled=SPELLED),
                    lines=self._did_you_mean(request.model),
                )
            name = re.sub(r"[^a-z0-9.]+", "-", request.model.split("/")[1].lower()).strip("-.")
            format_ = next((q for tag, q in NAMED_FORMAT.items() if tag in name), Quantization.NONE)
            quantized = {} if format_ is Quantization.NONE else {format_: request.model}
            entry = CatalogEntry(
                key=name[:40].strip("-."),
                repo=request.model,
                shape=request.shape,
                quantized=quantized,
            )
            return entry, format_
        raise UserError(t("model.unknown", model=request.model))

    def _did_you_mean(self, name: str) -> tuple[Text, ...]:
        alike = self.catalog.similar_names(name.split("/")[-1])
        return (t("model.alike", names=tuple(alike)),) if alike else ()

    def _setup(self, request: PlanRequest) -> Setup:
        return Setup(
            self.gpu,
            request.tensor_parallel_size or 1,
            request.quantization or Quantization.NONE,
            request.max_model_len or DEFAULT_CONTEXT,
            request.gpu_memory_utilization,
        )

    def _best(self, entry: CatalogEntry, shape: Shape, request: PlanRequest) -> Option:
        """The smallest tensor parallel size that fits; else the one with the fewest reasons against it."""
        options = list(self._options(entry, shape, request))
        fitting = (option for option in options if option.fit.fits)
        return next(fitting, min(options, key=_objections))

    def _options(self, entry: CatalogEntry, shape: Shape, request: PlanRequest) -> Iterator[Option]:
        """Longest context first, fewest GPUs first."""
        quantization = request.quantization or Quantization.NONE
        size = request.tensor_parallel_size
        sizes = [size] if size else legal_sizes(shape, self.gpu, quantization) or [1]
        for length in self._lengths(shape, request):
            for tp in sizes:
                setup = replace(
                    self._setup(request),
                    tensor_parallel_size=tp,
                    quantization=quantization,
                    max_model_len=length,
                )
                yield Option(entry, setup, fit(shape, setup))

    def _lengths(self, shape: Shape, request: PlanRequest) -> list[int]:
        """The contexts to try, in tokens: the one that was asked for, or 8k and shorter ones."""
        if request.max_model_len:
            return [request.max_model_len]
        cap = context_cap(shape, self.gpu)
        return [min(DEFAULT_CONTEXT, cap), *(n for n in (4096, 2048) if n < cap)]

    def _source_reasons(self, entry: CatalogEntry, quantization: Quantization) -> list[Text]:
        if entry.repo_for(quantization) or capability_reason(FORMATS[quantization], self.gpu):
            return []  # a format that cannot run needs no repository
        return [t("fit.no_repo", model=entry.key, format=FORMATS[quantization].label)]

    def _alternatives(self, entry: CatalogEntry, shape: Shape, request: PlanRequest) -> Iterator[Option]:
        """At most three ways that fit: on more GPUs, in another format, or with a shorter context."""
        seen: set[tuple[int, Quantization, int]] = set()
        for changed in self._changed_requests(request):
            quantization = changed.quantization or Quantization.NONE
            if entry.repo_for(quantization) is None:
                continue
            option = self._best(entry, shape, changed)
            setup = option.setup
            key = (setup.tensor_parallel_size, setup.quantization, setup.max_model_len)
            if option.fit.fits and key not in seen and len(seen) < 3:
                seen.add(key)
                yield option

    def _changed_requests(self, request: PlanRequest) -> Iterator[PlanRequest]:
        """Other requests, the nearest first. `any_size` leaves the number of GPUs open."""
        any_size = replace(request, tensor_parallel_size=None)
        yield replace(any_size, quantization=request.quantization or Quantization.NONE)
        for length in SHORTER_CONTEXTS:
            if request.max_model_len and length < request.max_model_len:
                yield replace(request, max_model_len=length)
                yield replace(any_size, max_model_len=length)
        for quantization in SUBSTITUTES:
            yield replace(request, quantization=quantization)
            yield replace(any_size, quantization=quantization)
            yield replace(any_size, quantization=quantization, max_model_len=None)

    def _instead(self, entry: CatalogEntry) -> Iterator[Option]:
        for name in entry.refused.instead if entry.refused else ():
            verdict = self.judge(PlanRequest(name))
            yield verdict.option if verdict.fits else verdict.alternatives[0]


def _objections(option: Option) -> tuple[int, int]:
    """A sort key: the fewest reasons against it first, and of these the fewest GPUs. Where memory is short,
    the most GPUs come first: if even these are too few, fewer are no better."""
    tp = option.setup.tensor_parallel_size
    short = any(reason.key in ABOUT_MEMORY for reason in option.fit.reasons)
    return len(option.fit.reasons), -tp if short else tp


def spec_of(option: Option, name: str, replicas: int, shape: Shape | None = None) -> Spec:
    """The spec of a deployment that starts a model in this way; the option must fit.

    `shape` is that of a model that is not in the catalog, to be stored with it; None for any other."""
    setup, tokens = option.setup, option.fit.kv_cache_tokens
    repo = option.entry.repo_for(setup.quantization)
    assert repo is not None, "a verdict that fits has a repository"
    tight = tokens < 2 * setup.max_model_len
    return Spec(
        name=name,
        model=option.entry.key,
        repo=repo,
        quantization=setup.quantization.value,
        tensor_parallel_size=setup.tensor_parallel_size,
        max_model_len=setup.max_model_len,
        shape=shape,
        gpu_memory_utilization=setup.gpu_memory_utilization,
        enforce_eager=tight or setup.gpu_memory_utilization > GRAPHS_UTILISATION,
        kv_cache_tokens=tokens,
        weights_gib=round(option.fit.weights_gib * setup.tensor_parallel_size, 2),
        replicas=replicas,
    )
