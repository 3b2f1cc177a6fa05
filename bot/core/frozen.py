"""The base class of values that are stored or passed from one part to another, and kinds of their fields."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)
"""The times that somebody can mean: one can reckon with each of them and with any `Span`."""
MOST = 10**9
"""The largest number of things that is told apart from larger ones."""
LONGEST_SECONDS = 10 * 86400
"""The longest duration in seconds that is told apart from longer ones."""


def saturated(moment: datetime) -> datetime:
    """The nearest time that somebody can mean; one without its zone is in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(aware, EARLIEST), LATEST)


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
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
"""A duration in seconds that was stored, likewise."""
Count = Annotated[int, Field(ge=0, le=MOST)]
"""A number of things that was stored, likewise."""


class Frozen(BaseModel):
    """A value that never changes: `model_copy` makes a changed one."""

    model_config = ConfigDict(frozen=True)
