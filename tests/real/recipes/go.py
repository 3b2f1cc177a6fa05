"""Go, as recipes use it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.real.recipes.failure import RecipeFailed

SETTINGS = {"GOFLAGS": "-mod=mod", "GOWORK": "off", "CGO_ENABLED": "0"}


def go(folder: Path, *words: str) -> str:
    """What `go` prints; RecipeFailed if it fails."""
    done = subprocess.run(
        ["go", *words], cwd=folder, env=os.environ | SETTINGS, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RecipeFailed(f"go {' '.join(words[:2])} failed, see above")
    return done.stdout


def build(module: Path, program: Path, package: str, flags: str = "", tags: str = "") -> None:
    """Build a program from a package that the module in a folder requires; `flags` are the linker's."""
    print(f"building {program.name}", file=sys.stderr)
    go(module, "build", "-trimpath", f"-tags={tags}", f"-ldflags=-s -w {flags}", f"-o={program}", package)
