"""Names of deployments, and of their objects on the cluster."""

import re

from bot.core.chat.errors import UserError
from bot.core.chat.text import t

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
RESERVED = re.compile(r"llm-(bot|gateway|hf-token|models|webui)(-.*)?")
"""Names of objects that the bot has for itself."""


def object_name(name: str) -> str:
    """The name of its objects on the cluster: `qwen2.5-7b` → `llm-qwen2-5-7b` (a DNS label)."""
    return "llm-" + name.lower().replace(".", "-")


def valid_name(name: str) -> str:
    """The name itself; UserError if a deployment cannot be called so."""
    if not NAME.fullmatch(name) or RESERVED.fullmatch(object_name(name)):
        raise UserError(t("deploy.bad_name", name=name))
    return name
