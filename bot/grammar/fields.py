"""Types of arguments, in the units that people type, and the fields that several commands share."""

import re
from datetime import time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from bot.core.chat.duration import parse_duration
from bot.core.chat.languages import UNTIL
from bot.core.fit.gpu import Quantization
from bot.core.fit.planning import PlanRequest
from bot.core.fit.shape import Shape, parse_shape
from bot.core.idle.office_hours import OfficeHours
from bot.core.idle.verdict import LONGEST_WINDOW
from bot.grammar.command import Command, KnownName

_TOKENS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(k?)")
_TIME = re.compile(rf"(?:(?:{'|'.join(map(re.escape, UNTIL))})[ ,]?)?(\d{{1,2}}):(\d{{2}})(?::00)?")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)(%?)")
MIN_CONTEXT = 256
"""The shortest context, in tokens."""
SHORTEST_WINDOW = timedelta(minutes=10)
"""The shortest idle window."""
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=365)
"""The shortest and the longest duration."""


def _context(value: Any) -> Any:
    if isinstance(value, int):
        return value
    match = _TOKENS.fullmatch(str(value).strip().lower().replace("_", ""))
    if not match:
        raise PydanticCustomError("tokens", "tokens such as 8192 or 8k")
    return int(float(match[1]) * (1024 if match[2] else 1))


def _span(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    try:
        duration = parse_duration(str(value))
    except ValueError:
        raise PydanticCustomError("duration", "a duration such as 4h or 90m") from None
    if not SHORTEST <= duration <= LONGEST:
        raise PydanticCustomError("duration", "a duration from 1m to 365d")
    return duration


def _until(value: Any) -> Any:
    """`22:00`, `until 22:00`, or a duration."""
    if isinstance(value, time):
        return value
    match = _TIME.fullmatch(str(value).strip().lower())
    if match is None:
        return _span(value)
    if int(match[1]) > 23 or int(match[2]) > 59:
        raise PydanticCustomError("time", "a time such as 22:00")
    return time(int(match[1]), int(match[2]))


def _sensible(window: timedelta) -> timedelta:
    if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
        raise PydanticCustomError("window", "from 10m to 7d")
    return window


def _hours(value: Any) -> Any:
    try:
        OfficeHours(str(value))
    except ValueError:
        raise PydanticCustomError("hours", "office hours such as mo-fr 8-20") from None
    return str(value).replace(",", " ")


def _share(value: Any) -> Any:
    match = _SHARE.fullmatch(str(value).strip().replace(",", "."))
    if not match:
        raise PydanticCustomError("share", "a share such as 0.9")
    return float(match[1]) / (100 if match[2] else 1)


def _shape(value: Any) -> Any:
    try:
        return value if isinstance(value, Shape) else parse_shape(str(value))
    except ValueError:
        raise PydanticCustomError("shape", "a shape") from None


def _format(value: Any) -> Any:
    return str(value).strip().lower() if isinstance(value, str) else value


ContextLength = Annotated[int, BeforeValidator(_context)]
"""Tokens: `8192`, or `8k` for 8 × 1,024."""
Duration = Annotated[timedelta, BeforeValidator(_span)]
"""A duration: `4h`, `1h30m`."""
Until = Annotated[timedelta | time, BeforeValidator(_until)]
"""A duration, or a time of day: `22:00`, `until 22:00`."""
HoursArgument = Annotated[str, BeforeValidator(_hours)]
"""Office hours: `mo-fr 8-20`."""
IdleWindow = Annotated[Duration, AfterValidator(_sensible)]
"""A duration from SHORTEST_WINDOW to LONGEST_WINDOW."""
Share = Annotated[float, BeforeValidator(_share)]
"""A share from 0 to 1: `0.9`, `90%`."""
ShapeArgument = Annotated[Shape, BeforeValidator(_shape)]
"""The shape of a model: `32/4096/32/8/128/14336/128256`."""
FormatName = Annotated[Quantization, BeforeValidator(_format)]
"""The name of a format of weights: `gptq`."""
ModelName = Annotated[str, KnownName("model"), Field(max_length=200)]
"""A model's key, alias or repository."""
WorkloadName = Annotated[str, KnownName("workload"), Field(max_length=200)]
"""The name of a deployment."""


class ModelRequest(Command):
    """A command about a model that is to run: which model, and how."""

    model: ModelName
    """Which model."""
    tensor_parallel_size: int | None = Field(None, alias="tp", ge=1, le=16, examples=[2])
    """GPUs of one replica; None: the planner chooses."""
    quantization: FormatName | None = Field(None, alias="quant", examples=["gptq"])
    """The format of the weights; None: the planner chooses."""
    max_model_len: ContextLength | None = Field(
        None, alias="max-len", ge=MIN_CONTEXT, le=2**24, examples=["8k"]
    )
    """The context in tokens; None: the planner chooses."""
    gpu_memory_utilization: Share = Field(0.9, alias="util", ge=0.3, le=0.97)
    """The share of each GPU's memory that the engine may use."""
    shape: ShapeArgument | None = Field(None, examples=["32/4096/32/8/128/14336/128256"])
    """The shape of a repository that is not in the catalog; None: the model is in it."""

    def request(self) -> PlanRequest:
        """The request to the planner."""
        return PlanRequest(
            self.model,
            self.tensor_parallel_size,
            self.quantization,
            self.max_model_len,
            self.gpu_memory_utilization,
            self.shape,
        )
