"""What a test runs inside the bot's image, as `python - WHAT` with this file as input: prints JSON."""

import importlib.util
import json
import pkgutil
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from datetime import date
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import bot


def packages() -> dict[str, object]:
    """Modules of a start that lack bytecode, licences that are missing, and what could install or build."""
    for module in pkgutil.walk_packages(bot.__path__, "bot."):
        if not module.name.startswith(("bot.__main__", "bot.storage.migrations")):  # importing runs them
            import_module(module.name)
    sources = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    slow = [file for file in sources if file.endswith(".py") and not _compiled(file)]
    licences = [
        Path(str(file.locate()))
        for distribution in distributions()
        for file in distribution.files or ()
        if file.name.lower().startswith(("licen", "copying", "notice")) and ".py" not in file.suffix
    ]
    missing = [str(file) for file in licences if not file.exists()]
    tools = [name for name in ("pip", "pip3", "uv", "cc", "gcc", "make") if shutil.which(name)]
    tools += [name for name in ("pip", "setuptools", "wheel", "ensurepip") if importlib.util.find_spec(name)]
    return {"slow": slow, "licences": len(licences), "missing": missing, "tools": tools}


def _compiled(source: str) -> bool:
    return Path(importlib.util.cache_from_source(source)).exists()


def charts() -> dict[str, object]:
    """The bytes of the chart of a report in each language."""
    from bot.core.chat.languages import NAMES
    from bot.core.usage.reports import Day
    from bot.observability.chart import draw

    days, labels = (
        [Day(date(2030, 1, day), 5, 2.5, 1.5) for day in range(1, 29)],
        ("beschäftigt", "untätig", "frei"),
    )
    pictures = {language: draw(days, labels, "GPU-Stunden", language) for language in NAMES}
    return {language: len(png) for language, png in pictures.items() if png.startswith(b"\x89PNG")}


def life() -> dict[str, object]:
    """One life of the service, which is told to end once it is ready: seconds until then, seconds until it
    has ended, its CPU seconds, its exit code."""
    begun = time.monotonic()
    service = subprocess.Popen([sys.executable, "-m", "bot", "run"])
    while not _ready():
        assert service.poll() is None, "it has ended"
        time.sleep(0.02)
    ready = time.monotonic()
    service.terminate()
    code, ended = service.wait(), time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    return {"ready": ready - begun, "ended": ended - ready, "cpu": cpu, "code": code}


def _ready() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:18080/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    print(json.dumps({"packages": packages, "charts": charts, "life": life}[sys.argv[1]]()))
