"""What the Dockerfile does with the installed packages, in the folder of the bot: `slim` removes what the bot
never reads, then `compile` writes the bytecode of what it imports at start."""

import asyncio
import pkgutil
import py_compile
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path

CHART = ("matplotlib", "mpl_toolkits", "numpy", "numpy.libs", "contourpy", "fontTools", "PIL", "pillow.libs")
"""Packages of which the bot needs what draws one chart."""
CLIENT = ("kubernetes",)
"""A class per group and object of the API, twice: the bot sends raw JSON, and needs those of the Lease."""
UNUSED = (
    "babel/locale-data/*.dat",  # but for the languages that the bot speaks
    "matplotlib/mpl-data/fonts/ttf/*.ttf",  # but for FONTS
    "matplotlib/mpl-data/fonts/*/*.afm",  # for PDF and PostScript
    "matplotlib/mpl-data/sample_data",
    "numpy/_core/include/**/*.h",
    "**/tests",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.c",
)
"""Files that are never read, as patterns in site-packages."""
FONTS = ("DejaVuSans.ttf", "LastResortHE-Regular.ttf")
"""The chart's, and the boxes for what that lacks."""


def load_all(*, with_chart: bool) -> None:
    """Import what the bot imports: its own modules, and what libraries import when they are first used."""
    import bot

    for module in pkgutil.walk_packages(bot.__path__, "bot."):
        if not module.name.startswith(("bot.__main__", "bot.storage.migrations")):  # importing runs them
            import_module(module.name)
    _ = import_module("kubernetes.aio.client").CoordinationV1Api
    asyncio.run(_open_ledgers())
    if with_chart:
        _draw()


async def _open_ledgers() -> None:
    from bot.storage.ledger import SqlLedger

    for url in ("sqlite://", "postgresql+psycopg://nobody@127.0.0.1:1/none"):  # the second is refused
        ledger = SqlLedger(url)
        await ledger.used(date(2030, 1, 1))
        await ledger.close()


def _draw() -> None:
    from bot.core.usage.reports import Day
    from bot.observability.chart import draw

    draw([Day(date(2030, 1, 1), 1, 1, 1)], ("a", "b", "c"), "GPU", "en")


def loaded() -> set[Path]:
    """The files in this process: modules, and libraries that are mapped into it."""
    modules = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return {Path(file) for file in modules | mapped if file.startswith("/")}


def unused(site_packages: Path, languages: set[str], needed: set[Path]) -> Iterator[Path]:
    """What to remove: the code of CHART and CLIENT that is not `needed`, and UNUSED. LookupError if there is
    nothing of one of them: then the list is out of date."""
    for package in CHART + CLIENT:
        code = [
            it for it in (site_packages / package).rglob("*") if it.suffix == ".py" or ".so" in it.suffixes
        ]
        if not code:
            raise LookupError(package)
        yield from (file for file in code if file not in needed)
    for pattern in UNUSED:
        found = list(site_packages.glob(pattern))
        if not found:
            raise LookupError(pattern)
        yield from (path for path in found if not _kept(path, languages))


def _kept(path: Path, languages: set[str]) -> bool:
    return path.name in FONTS or (path.suffix == ".dat" and path.stem.partition("_")[0] in languages)


def slim(site_packages: Path) -> None:
    """Remove it; licences stay."""
    from bot.core.chat.languages import NAMES

    load_all(with_chart=True)
    for path in list(unused(site_packages, {"root", *NAMES}, loaded())):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # found twice, or in a folder that is gone


def compile_bytecode() -> None:
    """Of the bot, and of what it imports but for the chart. It is never compared with its source, so neither
    owner nor time of the files matter."""
    load_all(with_chart=False)
    for source in loaded() | set(Path("bot").resolve().rglob("*.py")):
        if source.suffix == ".py":
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(source), doraise=True, invalidation_mode=unchecked)
    _draw()  # what is left is enough for it


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    match sys.argv[1:]:
        case ["slim"]:
            slim(Path(sysconfig.get_path("purelib")))
        case ["compile"]:
            compile_bytecode()
        case _:
            sys.exit(__doc__)
