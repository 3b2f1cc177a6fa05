"""The models we know: `manifests/catalog.yaml`, checked when it is read."""

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
"""Similarity of 100 from which a name is worth a "did you mean"."""


class Refusal(BaseModel):
    """Why GPUs below a compute capability cannot run a model; `instead` are models that can."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: str
    below: float = Field(default=8.0, ge=1, le=99)
    instead: tuple[str, ...] = ()


class CatalogEntry(BaseModel):
    """One model. `quantized` are repositories with ready-made weights of that format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    shape: Shape | None = None
    licence: str = "?"
    gated: bool = False
    aliases: tuple[str, ...] = ()
    quantized: dict[Quantization, str] = {}
    caution: str = ""
    refused: Refusal | None = None

    def repo_for(self, quantization: Quantization) -> str | None:
        """The repository to load; bitsandbytes quantises the plain one while loading."""
        if quantization in (Quantization.NONE, Quantization.BITSANDBYTES):
            return self.repo
        return self.quantized.get(quantization)

    def refusal(self, gpu: Gpu) -> Text | None:
        """Why this GPU cannot run it at all, if it cannot."""
        if self.refused is None or gpu.capability >= self.refused.below:
            return None
        because = t(f"refused.{self.refused.because}", gpu=gpu.label)
        return t("fit.refused", model=self.key, because=because)


class Catalog:
    """All models, found by key, alias or repository, whatever the case."""

    def __init__(self, cards: Iterable[CatalogEntry]) -> None:
        self.cards = {card.key: card for card in cards}
        self._names: dict[str, tuple[CatalogEntry, Quantization]] = {}
        for card in self.cards.values():
            for name in (card.key, card.repo, *card.aliases):
                self._add(name, card, Quantization.NONE)
            for quantization, repo in card.quantized.items():
                self._add(repo, card, quantization)

    def _add(self, name: str, card: CatalogEntry, quantization: Quantization) -> None:
        known = self._names.setdefault(name.lower(), (card, quantization))
        if known[0] is not card:
            raise ValueError(f"catalog: {name!r} names both {known[0].key} and {card.key}")

    def find(self, name: str) -> tuple[CatalogEntry, Quantization] | None:
        """The card, and the quantisation if `name` is a repository of quantised weights."""
        return self._names.get(name.lower())

    def names(self) -> list[str]:
        """Keys and aliases: what people type."""
        return sorted({n for card in self.cards.values() for n in (card.key, *card.aliases)})

    def alike(self, name: str) -> list[str]:
        """Up to three keys that `name` may have meant, the likeliest first."""
        found = process.extract(
            name[:80],
            self.names(),
            scorer=fuzz.WRatio,
            processor=utils.default_process,
            limit=6,
            score_cutoff=ALIKE,
        )
        keys = [self._names[match.lower()][0].key for match, _, _ in found]
        return list(dict.fromkeys(keys))[:3]


def read_catalog(path: Path) -> Catalog:
    """Read and check the catalog; ValueError names the entry and what is wrong with it."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [{"key": key, **entry} for key, entry in content["models"].items()]
    catalog = Catalog(TypeAdapter(list[CatalogEntry]).validate_python(entries))
    for card in catalog.cards.values():
        for name in card.refused.instead if card.refused else ():
            if name not in catalog.cards:
                raise ValueError(f"catalog: {card.key} offers the unknown {name!r} instead")
    return catalog
