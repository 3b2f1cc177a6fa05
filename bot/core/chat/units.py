"""Numbers that know their unit, so that a sentence can write them as people do."""


class Tokens(int):
    """A number of tokens; from 1,024 on it is written in units of 1,024: `8k`."""
