"""Finding things in a manifest by their names: containers that a cluster adds may stand before ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.core.chat.errors import UserError
from bot.core.chat.text import t

Json = dict[str, Any]


def named(things: Sequence[Json], name: str, kind: str, file: Path) -> Json:
    """The one that is called so; UserError that names the `file` if it holds no `kind` of that name."""
    for thing in things:
        if thing["name"] == name:
            return thing
    where = f"{file.parent.name}/{file.name}"
    raise UserError(t("error.manifest", file=f"manifests/{where}", kind=kind, name=name))
