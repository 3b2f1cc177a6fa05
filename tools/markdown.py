"""Pieces of Markdown."""

from collections.abc import Iterable, Iterator, Sequence

NOTE = "<!-- Generated from the code by `make docs`; edit the code, not this file. -->"


def page(title: str, lines: Iterable[str]) -> str:
    """A whole generated page."""
    return "\n".join([f"# {title}", "", NOTE, "", *lines]).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, with an empty one after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def code(text: str) -> str:
    """In backticks; nothing stays nothing."""
    return f"`{text}`" if text else ""
