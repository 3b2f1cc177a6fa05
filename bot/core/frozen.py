"""The base class of values that are stored or passed from one part to another."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that never changes: `model_copy` makes a changed one."""

    model_config = ConfigDict(frozen=True)
