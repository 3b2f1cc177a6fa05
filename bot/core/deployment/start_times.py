"""How long the stages of a start took, and what of that is worth remembering."""

from datetime import datetime, timedelta

from bot.core.frozen import Frozen, Seconds

AHEAD = timedelta(seconds=10)
"""How far the clocks of the bot and of the cluster may be apart."""
POD_MADE_WITHIN = timedelta(minutes=3)
"""After a start was asked for: the pod before may take so long to end. A younger one has replaced another."""
HELD_UP = 60.0
"""Seconds on a node besides pulling from which a start was held up: network and volumes take less."""
LONGEST = 2 * 3600.0
"""Seconds that no stage takes: the startup probe allows one hour."""


class Stages(Frozen):
    """The stages of the start of a pod that answers, in seconds. Each is between two stamps of one clock, the
    control plane's or the node's: it does not matter if that is off."""

    run: str
    """Which run of its engine it was, as an `Ending.run`."""
    created: datetime
    """When the pod was made."""
    waiting: float
    """From then until it had a node."""
    preparing: float
    """From then until its engine was started, pulling included."""
    pulling: float | None
    """How long its image was pulled; 0: it was there. None: nobody knows, or it took more than one try."""
    running: float
    """From the start of its engine until it was ready."""

    @property
    def total(self) -> float:
        """All together."""
        return self.waiting + self.preparing + self.running


class StartTimes(Frozen):
    """How long the stages of a start took that nothing interrupted or held up, in seconds."""

    waiting: Seconds
    """Until it had a node."""
    pulling: Seconds | None
    """Pulling the image; 0: it was there. None: nobody knows."""
    downloading: Seconds
    """Downloading the weights; 0: they were in the cache."""
    loading: Seconds
    """All else that its engine did until it was ready."""


def learned(
    stages: Stages | None, downloading: float | None, asked: datetime, now: datetime
) -> StartTimes | None:
    """What the start teaches that was asked for at `asked`; None: nothing, as it was held up, is not that
    start's, or is not known well enough.

    `downloading` is how long its engine says it downloaded, in seconds; None: it does not say."""
    if stages is None or downloading is None:
        return None
    its_own = asked - AHEAD <= stages.created <= asked + POD_MADE_WITHIN
    held_up = stages.preparing - (stages.pulling or 0) > HELD_UP
    possible = stages.total <= (now - asked + AHEAD).total_seconds()
    loading = stages.running - downloading
    seconds = (stages.waiting, stages.preparing, downloading, loading)
    sane = min(seconds) >= 0 and max(stages.preparing, stages.running) <= LONGEST
    if not its_own or held_up or not possible or not sane:
        return None
    return StartTimes(
        waiting=round(stages.waiting, 1),
        pulling=None if stages.pulling is None else round(stages.pulling, 1),
        downloading=round(downloading, 1),
        loading=round(loading, 1),
    )
