"""The base of the values that are stored or handed from one part to another."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: it never changes, a change makes another one."""

    model_config = ConfigDict(frozen=True)
