"""What the documents promise: generated pages are current, links lead somewhere, named things exist."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.draw_demo import PICTURE, demo, words
from tools.generate_docs import REFERENCE, pages

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
README_BYTES = 8 * 1024
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = ("bot/", "tests/", "tools/", "manifests/", "docs/", "requirements/", ".ci/", ".github/")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """Of each heading, as GitHub and GitLab make them."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(document: Path) -> list[str]:
    """What stands in backticks or in a fenced block, line by line."""
    text = document.read_text(encoding="utf-8")
    blocks = [line for block in FENCE.findall(text) for line in block.splitlines()]
    return [*re.findall(r"`([^`\n]+)`", FENCE.sub("", text)), *blocks]


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def subcommands() -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "bot", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = re.search(r"\{([\w,-]+)\}", shown.stdout)
    assert found
    return set(found[1].split(","))


PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name], "run make docs"


def test_the_reference_has_generated_pages_only() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", sorted(set(PAGES) - {"commands.md"}))
def test_nothing_in_the_generated_pages_lacks_a_meaning(name: str) -> None:
    """What is said of all annotations together counts until each says it of itself."""
    if "As the code says it:" not in PAGES[name]:
        assert [line for line in PAGES[name].splitlines() if line.endswith("|  |")] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_file_and_command_that_is_named_exists(document: Path) -> None:
    for spelled in code(document):
        for path in re.findall(r"(?<![\w/.-])[\w.-]+/[\w./*-]+", spelled):
            if path.startswith(FOLDERS) and path != "manifests/bot/.env":
                assert (ROOT / path).exists(), path
        for target in re.findall(r"\bmake ([a-z][\w-]*)", spelled):
            assert target in targets(), f"make {target}"
        for command in re.findall(r"python -m bot ([a-z][\w-]*)", spelled):
            assert command in subcommands(), f"python -m bot {command}"


def test_every_decision_is_dated_and_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    found = sorted(folder.glob("[0-9]*.md"))
    assert len({path.name[:4] for path in found}) == len(found) > 0, "a number is given once"
    for path in found:
        date = re.search(r"^(\d{4}-\d\d-\d\d) · ", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert date and f"| {date[1]} |" in listed and f"]({path.name})" in listed, path.name


def test_the_picture_shows_what_the_demo_prints() -> None:
    """But for figures that change with each run, and for how many steps of progress were seen."""
    shown, printed = words(PICTURE.read_text(encoding="utf-8")), " ".join(demo())
    now = without_figures(printed)
    missing = [line for line in shown if line[:1] != "◐" and without_figures(line) not in now]
    assert shown and missing == [], "run make picture"


def without_figures(line: str) -> str:
    return re.sub(r"[\d.]+", "N", line).replace(" ", "")
