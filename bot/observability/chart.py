"""The chart of a report: GPU-hours of each day as stacked bars, by matplotlib."""

from collections.abc import Sequence
from io import BytesIO

from babel.dates import format_skeleton

from bot.core.usage.reports import Day

COLOURS = ("#2b6cb0", "#ed8936", "#e2e8f0")
"""Colours of busy, idle and free, without red and green."""
INCHES, DOTS = (8, 3.5), 120
"""Width and height in inches, and dots per inch."""
MOST_DATES = 10
"""Dates that fit beside each other."""


def draw(days: Sequence[Day], labels: Sequence[str], unit: str, language: str) -> bytes:
    """The chart as PNG. `labels` are those of busy, idle and free, `unit` that of the axis; dates are written
    as in `language`.

    It takes about a second the first time: call it in a thread."""
    from matplotlib.figure import Figure  # 60 MiB that a bot without reports does not need

    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    axes = figure.subplots()
    numbers, dates = range(len(days)), ticks(days, language)
    parts = [[day.busy for day in days], [day.idle for day in days], [day.free for day in days]]
    below = [0.0] * len(days)
    for part, label, colour in zip(parts, labels, COLOURS, strict=True):
        axes.bar(numbers, part, bottom=below, label=label, color=colour)
        below = [low + high for low, high in zip(below, part, strict=True)]
    axes.set_xticks(list(dates), list(dates.values()))
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def ticks(days: Sequence[Day], language: str) -> dict[int, str]:
    """The dates under the chart, by the position of their day; if there are many days, only every n-th has
    one."""
    step = -(-len(days) // MOST_DATES)
    every = list(enumerate(days))[::step]
    return {number: format_skeleton("MMMd", day.day, locale=language) for number, day in every}
