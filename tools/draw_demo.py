"""Draws docs/demo.svg: what the demo really prints, as a picture. `make picture` runs it."""

import html
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
TYPED = (
    "deploy llama-3-8b tp=1",
    "1",
    "ask llama-3-8b what is PagedAttention?",
    "stop llama-3-8b",
)
"""What is typed; `1` takes the first alternative of the refusal."""
SPEED = 240
"""Times faster than real time: few enough lines of progress for a picture."""
COLUMNS = 112
STYLES = {"✕": "red", "◐": "yellow", "●": "green", "○": "bright_black", ">": "bold"}
"""How a line is drawn that begins with this mark."""


def demo() -> list[str]:
    """The lines that a run of the demo prints, in English whatever the environment says."""
    command = [sys.executable, "-m", "bot", "demo", "--speed", str(SPEED)]
    typed = "".join(f"{line}\n" for line in TYPED)
    done = subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "LANGUAGE": "en"},
    )
    return done.stdout.splitlines()


def draw(lines: list[str]) -> str:
    """The lines as SVG; nothing in it is loaded from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text(line, style=STYLES.get(line[:1], "")))
    picture = console.export_svg(title="make demo", unique_id="demo")
    own_fonts = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return own_fonts.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


def words(picture: str) -> list[str]:
    """What stands in a picture, line by line."""
    found = re.findall(r'<text class="demo-r\d+"[^>]*>(.*?)</text>', picture)
    return [html.unescape(text).replace("\xa0", " ").strip() for text in found if text.strip()]


if __name__ == "__main__":
    PICTURE.write_text(draw(demo()), encoding="utf-8")
