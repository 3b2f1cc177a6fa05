"""The figures that docs/benchmarks.md states."""

from typing import Any


def row(what: str, value: float, limit: float, detail: str, *, most: bool = True) -> dict[str, Any]:
    """One figure: `most` says that the limit is an upper one."""
    ok = value <= limit if most else value >= limit
    sign = "≤" if most else "≥"
    return {"what": what, "value": f"{value:.3g}", "limit": f"{sign} {limit:g}", "ok": ok, "detail": detail}


def missing(what: str, variable: str) -> dict[str, Any]:
    """A figure that cannot be measured here."""
    return {"what": what, "value": "-", "limit": "-", "ok": True, "detail": f"{variable} is not set"}
