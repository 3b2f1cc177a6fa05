"""How a try to start a model, or a run of its engine, ended."""

from typing import Self

from pydantic import Field

from bot.core.frozen import Count, Frozen, Moment

ENDS_FORGIVEN = 1
"""Ends of one replica that are no failure yet: one may be a hiccup of the network, two have a cause."""
ALIKE_GIVEN_UP = 5
"""After so many ends of each replica in a row with the same cause the bot gives the GPUs back."""
BY_EXIT_CODE = {
    0: "ended_by_itself",
    126: "not_executable",
    127: "no_program",
    128: "not_started",
    132: "illegal_instruction",
    134: "aborted",
    135: "bus_error",
    137: "killed",
    139: "segfault",
    143: "terminated",
}
"""Causes by the exit code of a container; every other code is `crashed`. Above 128 it is 128 and the number
of the signal that ended the process."""
MUTE = {"crashed", "not_ready_in_time", "stopped_answering", *BY_EXIT_CODE.values()}
"""Causes that say how it ended, and not why: the log may."""
DISPLACED = {"drained", "tainted", "preempted", "node_lost", "node_shutdown"}
"""Causes that lie with the cluster: the pod had to go, its Deployment makes another one, and whatever that
waits for is more worth telling. They never make a start a failed one."""
GARBLED = "garbled_answers"
"""The cause of an engine that runs and answers nonsense."""


class Ending(Frozen):
    """How a run of an engine ended, or a pod before its engine ran."""

    number: Count
    """How many runs have ended since it was asked to start, or was last ready; this is the last of them. 0:
    it has been ready since."""
    run: str = Field(pattern=r"^[^/]*/-?\d{1,9}$")
    """Which run it was: the uid of its pod, and the restarts of its container before it."""
    others: tuple[str, ...] = ()
    """The last run of each other pod that has ended and may run again; that of one replica is none."""
    at: Moment
    """When it ended."""
    cause: str
    """Why: the name of a sentence `[cause]`."""
    node: str = ""
    """The name of the node that it was on; empty: it is not known."""
    exit_code: int | None = None
    """Of the container; None: it never ran, or still runs."""
    evidence: str = ""
    """The line of a log or status that shows the cause, without secrets; empty: there is none."""
    alike: Count = 1
    """How many runs in a row have ended for this cause."""
    fitting_context: Count = 0
    """The longest context in tokens that would fit, as its log says; 0: it does not say."""
    log_read: bool = False
    """Its log has been read, or says nothing: no better cause will become known."""

    def forgiven(self) -> Self:
        """The end, now that it has been ready since: later ends are counted from 1 again."""
        return self.model_copy(update={"number": 0, "alike": 0})
