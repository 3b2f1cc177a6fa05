"""The catalog of models: `manifests/catalog.yaml`, checked when it is read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from rapidfuzz import fuzz, process, utils

from bot.core.chat.text import Text, t
from bot.core.fit.gpu import Gpu, Quantization
from bot.core.fit.shape import Shape

ALIKE = 65.0
"""How similar a name must be to be suggested, from 0 to 100."""


class Refusal(BaseModel):
    """That GPUs below a compute capability cannot run a model, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: str
    """The reason: the name of a sentence `[refused]` of the locales."""
    below: float = Field(default=8.0, ge=1, le=99)
    """The compute capability that a GPU needs at least."""
    instead: tuple[str, ...] = ()
    """Keys of models that such GPUs can run."""


class CatalogEntry(BaseModel):
    """A model of the catalog."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """What people type: `llama-3-8b`."""
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """The repository of its fp16 weights on the Hugging Face Hub."""
    shape: Shape | None = None
    """The numbers that its memory depends on; None: nobody has looked them up, and it cannot be judged."""
    licence: str = "?"
    """The name of its licence; `?`: not known."""
    gated: bool = False
    """Its weights can only be downloaded with a token of somebody who has accepted its terms."""
    aliases: tuple[str, ...] = ()
    """Other words that people type for it."""
    quantized: dict[Quantization, str] = {}
    """The repositories of its ready-made quantised weights, by format."""
    caution: str = ""
    """What to know of its quantised weights, the name of a sentence `[caution]`; empty: nothing."""
    refused: Refusal | None = None
    """Why older GPUs cannot run it; None: they can."""

    def repo_for(self, quantization: Quantization) -> str | None:
        """The repository to load for a format; None if there is none. bitsandbytes loads the fp16 one and
        quantises it while loading."""
        if quantization in (Quantization.NONE, Quantization.BITSANDBYTES):
            return self.repo
        return self.quantized.get(quantization)

    def refusal(self, gpu: Gpu) -> Text | None:
        """Why this GPU cannot run it in any format; None if it can."""
        if self.refused is None or gpu.capability >= self.refused.below:
            return None
        because = t(f"refused.{self.refused.because}", gpu=gpu.label)
        return t("fit.refused", model=self.key, because=because)


class Catalog:
    """All models, found by key, alias or repository, in upper or lower case.

    ValueError if two of them share a name."""

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        self.entries = {entry.key: entry for entry in entries}
        """The models by their key."""
        self._names: dict[str, tuple[CatalogEntry, Quantization]] = {}
        for entry in self.entries.values():
            for name in (entry.key, entry.repo, *entry.aliases):
                self._add(name, entry, Quantization.NONE)
            for quantization, repo in entry.quantized.items():
                self._add(repo, entry, quantization)

    def _add(self, name: str, entry: CatalogEntry, quantization: Quantization) -> None:
        first, _ = self._names.setdefault(name.lower(), (entry, quantization))
        if first is not entry:
            raise ValueError(f"catalog: {name!r} names both {first.key} and {entry.key}")

    def find(self, name: str) -> tuple[CatalogEntry, Quantization] | None:
        """The model of that name, and the format of the weights if the name is a repository of quantised ones
        (else `none`); None if there is no such model."""
        return self._names.get(name.lower())

    def names(self) -> list[str]:
        """All keys and aliases, in alphabetical order."""
        return sorted({n for entry in self.entries.values() for n in (entry.key, *entry.aliases)})

    def similar_names(self, name: str) -> list[str]:
        """Up to three keys that `name` may have been meant to be, the likeliest first."""
        matches = process.extract(
            name[:80],
            self.names(),
            scorer=fuzz.WRatio,
            processor=utils.default_process,
            limit=6,
            score_cutoff=ALIKE,
        )
        keys = [self._names[match.lower()][0].key for match, _, _ in matches]
        return list(dict.fromkeys(keys))[:3]


def read_catalog(path: Path) -> Catalog:
    """Read and check the catalog; ValueError names the entry and what is wrong with it."""
    text = path.read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)  # ten times as fast as safe_load
    entries = [{"key": key, **entry} for key, entry in content["models"].items()]
    catalog = Catalog(TypeAdapter(list[CatalogEntry]).validate_python(entries))
    for entry in catalog.entries.values():
        for name in entry.refused.instead if entry.refused else ():
            if name not in catalog.entries:
                raise ValueError(f"catalog: {entry.key} offers the unknown {name!r} instead")
    return catalog
