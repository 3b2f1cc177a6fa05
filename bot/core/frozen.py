"""The base class of values that are stored or passed from one part to another, and kinds of their fields."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _plausible(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    if not 2000 <= moment.year < 2200:
        raise ValueError("a year that nobody means")
    return moment


Moment = Annotated[datetime, AfterValidator(_plausible)]
"""A time that was stored and that somebody may have changed by hand: it can be compared with every other one,
and be reckoned with."""
Span = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=3650))]
"""A duration that was stored, likewise."""
Seconds = Annotated[float, Field(ge=0, le=10 * 86400, allow_inf_nan=False)]
"""A duration in seconds that was stored, likewise."""
Count = Annotated[int, Field(ge=0, le=10**9)]
"""A number of things that was stored, likewise."""


class Frozen(BaseModel):
    """A value that never changes: `model_copy` makes a changed one."""

    model_config = ConfigDict(frozen=True)
