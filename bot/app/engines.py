"""Which engine serves the models: each is a folder in bot/engines/."""

from bot.core.ports import Engine
from bot.engines.vllm.engine import Vllm

ENGINE: Engine = Vllm()
"""What the bot deploys, and whose logs it reads."""
