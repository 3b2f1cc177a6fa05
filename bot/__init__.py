"""llm-bot: vLLM models on a shared GPU cluster, from a chat."""

from pathlib import Path

__version__ = "0.1.0"
"""Of the package and of the image."""
_INSTALLED, _CHECKOUT = Path(__file__).parent / "manifests", Path(__file__).parents[1] / "manifests"
MANIFESTS = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""The folder with the catalog and the workloads' YAML: where the bot is installed it is inside the package,
in a checkout beside it."""
