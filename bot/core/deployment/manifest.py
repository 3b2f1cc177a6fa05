"""Finds parts of a manifest by their names: a cluster may have put others before them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.core.chat.errors import UserError
from bot.core.chat.text import t

Json = dict[str, Any]


def named(things: Sequence[Json], name: str, kind: str, file: Path) -> Json:
    """The thing of that name; UserError if there is none: it says that `file` lacks a `kind` of that name."""
    for thing in things:
        if thing["name"] == name:
            return thing
    path = f"manifests/{file.parent.name}/{file.name}"
    raise UserError(t("error.manifest", file=path, kind=kind, name=name))
