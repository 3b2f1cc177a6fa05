"""What llm-bot keeps about a workload besides its spec, as annotations of the Deployment."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self, Unpack

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bot.core.access.roles import Role
from bot.core.chat.message import Place, User
from bot.core.deployment.ending import Ending
from bot.core.deployment.start_times import StartTimes
from bot.core.frozen import Frozen, Moment, Span
from bot.core.idle.office_hours import OfficeHours

USERS_KEPT, STARTS_KEPT = 20, 5
"""People whose last use is remembered, and starts whose duration is."""


class SleepReason(StrEnum):
    """Why a workload was put to sleep; each reason has a sentence `[why] asleep_…`."""

    PERSON = "person"
    """Somebody asked for it."""
    IDLE = "idle"
    """Nobody used it for its idle window."""
    OFFICE_HOURS = "office_hours"
    """Its office hours were over, and nobody used it."""
    LEASE = "lease"
    """Its lease was over."""
    FAILED = "failed"
    """It had failed and held its GPUs."""
    UNKNOWN = "unknown"
    """Its replicas are 0 and nothing was written down: it was not scaled down by llm-bot, most likely."""

    @property
    def automatic(self) -> bool:
        """The bot put it to sleep without being asked."""
        return self not in (SleepReason.PERSON, SleepReason.UNKNOWN)


class SleepState(Frozen):
    """Why a workload was put to sleep, what was known then, and what its owner has been told since."""

    reason: SleepReason
    """What put it to sleep, or that nobody knows."""
    by: str = ""
    """The name of the person who put it to sleep; empty if nobody did."""
    slept_at: Moment | None = None
    """When it was put to sleep; None: that is not known, as in records of versions up to 0.1.0."""
    last_activity: Moment | None = None
    """When it was last used, as far as was known; None: nothing was known."""
    seen: Span | None = None
    """How much of its last idle window was seen; None: that was not written down, as in records that counted
    samples instead."""
    window: Span | None = None
    """How long that window was; None: likewise."""
    cause: str = ""
    """Of one that had failed, why: the name of a sentence `[cause]`; empty: it took too long, or has not."""
    told: bool = False
    """Its owner has been told, or need not be."""
    office_closed: bool = False
    """A person put it to sleep, it had failed or its lease had ended, and its office has closed since: it
    wakes when the office opens again, if it may."""
    removal_announced_at: Moment | None = None
    """When its owner was told that it will be removed; None: not yet."""

    def changed(
        self,
        *,
        slept_at: datetime | None = None,
        told: bool | None = None,
        office_closed: bool | None = None,
        removal_announced_at: datetime | None = None,
    ) -> Self:
        """The state with what has happened since; None leaves a field as it is."""
        fields = {
            "slept_at": slept_at,
            "told": told,
            "office_closed": office_closed,
            "removal_announced_at": removal_announced_at,
        }
        return self.model_copy(update={name: value for name, value in fields.items() if value is not None})

    @property
    def opens(self) -> bool:
        """It is to wake when its office hours begin. What a person has put to sleep during office hours, or
        has failed in them, or whose lease has ended in them, stays asleep until the next ones."""
        if self.reason in (SleepReason.IDLE, SleepReason.OFFICE_HOURS):
            return True
        return self.office_closed


class LastUse(Frozen):
    """The last time that a person asked a model something."""

    who: str
    """The person's name as it was then."""
    at: Moment
    """When that was."""


class RecordChanges(TypedDict, total=False):
    """New values for fields of a `Record`, which says what they mean; fields that are not named stay as they
    are."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    owner: str
    owner_name: str
    role: Role
    locale: str
    card_place: Place | None
    card_message_id: str
    announced_news: str
    start_requested_at: Moment
    start_times: tuple[StartTimes, ...]
    ready_at: Moment | None
    last_end: Ending | None
    lease_ends_at: Moment | None
    keep_until: Moment | None
    idle_window: Span | None
    office_hours: str
    warned_at: Moment | None
    warning_message_id: str
    sleep_state: SleepState | None
    queued_since: Moment | None
    held_back: str
    no_room_told: bool
    urgent: bool
    last_uses: dict[str, LastUse]
    last_nodes: tuple[str, ...]
    pending_questions: dict[str, Place]


_CHANGES = TypeAdapter(RecordChanges)


def checked(changes: RecordChanges) -> RecordChanges:
    """The changes; ValueError (pydantic's) for a field that a record does not have, or a wrong value."""
    return _CHANGES.validate_python(changes)


def _office_hours(typed: str) -> str:
    if typed:
        OfficeHours(typed)
    return typed


class Record(Frozen):
    """What is remembered of a workload besides its spec. Everything that must survive a restart is here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    """The user id of the person it belongs to."""
    owner_name: str
    """What that person was called when it was deployed."""
    role: Role = Role.STUDENT
    """The role that its owner had when the owner last started or changed it. It decides the place in the
    queue, and the quota of what others and the bot do with it."""
    locale: str = ""
    """The language of its card and messages; empty: everybody's."""

    card_place: Place | None = None
    """Where its card is, and where its owner is told what happens; None: it was not deployed in a chat."""
    card_message_id: str = ""
    """The message that shows how it is; empty: there is none."""
    announced_news: str = ""
    """The `Workload.news` that the card told last; empty: none yet."""

    start_requested_at: Moment
    """When it was last asked to start: deployed, changed or woken."""
    start_times: tuple[StartTimes, ...] = ()
    """How long the stages of its last starts took, in seconds; the latest is the last. A start that was
    interrupted or held up is not among them; with a new spec there are none."""
    ready_at: Moment | None = None
    """When it first answered after it was last asked to start; None: not yet."""
    last_end: Ending | None = None
    """How the last run of its engine ended in this start, as far as that is written down; None: none has."""
    lease_ends_at: Moment | None = None
    """When its lease ends and it is put to sleep, or has ended; None: it has none."""

    keep_until: Moment | None = None
    """Until when a person wants it kept although it is idle; None: nobody does."""
    idle_window: Span | None = None
    """How long it may be idle; None: as long as its model or everybody's may."""
    office_hours: Annotated[str, AfterValidator(_office_hours)] = ""
    """When it stays warm (`mo-fr 08:00-18:00`); outside of them it sleeps. Empty: it has none."""
    warned_at: Moment | None = None
    """When its owner was told that it will sleep; None: there is no such warning now."""
    warning_message_id: str = ""
    """The message of that warning; empty: none, or it could not be posted."""
    sleep_state: SleepState | None = None
    """Why it sleeps; None: it does not, or nobody has looked yet since it was scaled to 0."""

    queued_since: Moment | None = None
    """Since when it waits for GPUs in the queue, with 0 replicas; None: it does not."""
    held_back: str = ""
    """Why it may not start by itself, as its owner was told: the key of that sentence. Empty: its owner was
    not told, or it has started since."""
    no_room_told: bool = False
    """Its owner has been told that no node could take it, even if all models gave their GPUs back."""
    urgent: bool = False
    """An admin called it urgent: that counts as hours of waiting in the queue."""

    last_uses: dict[str, LastUse] = Field(default_factory=dict)
    """When each person asked it last, by user id; the latest 20 people."""
    last_nodes: tuple[str, ...] = ()
    """Names of the nodes that it answered from last: their memory may still hold its weights, so it wakes
    there if it can."""
    pending_questions: dict[str, Place] = Field(default_factory=dict)
    """Where the questions are that wait until it is ready, by the id of the message that says so."""

    def changed(self, **changes: Unpack[RecordChanges]) -> Self:
        """The record with these changes; ValueError (pydantic's) for a field that it does not have."""
        return self.model_copy(update=dict(checked(changes)))

    def restarted(self, now: datetime, last_end: Ending | None) -> Self:
        """The record of a start that is asked for now; `last_end` is the last of the start before, whose pods
        may still be there."""
        forgiven = last_end.forgiven() if last_end else None
        return self.changed(
            start_requested_at=now,
            ready_at=None,
            last_end=forgiven,
            sleep_state=None,
            held_back="",
            no_room_told=False,
        )

    def lease_over(self, now: datetime) -> bool:
        """It had a lease, and that has ended. Versions up to 0.1.0 forgot when it did."""
        if self.lease_ends_at:
            return self.lease_ends_at <= now
        return self.sleep_state is not None and self.sleep_state.reason is SleepReason.LEASE

    def asleep_since(self, available: datetime) -> datetime:
        """Since when a workload sleeps whose Deployment has been available since `available`.

        A Deployment that is scaled to 0 stays available: that began when it last became ready. If `slept_at`
        is not known, this is the latest time at which something is known to have happened."""
        state = self.sleep_state or SleepState(reason=SleepReason.UNKNOWN)
        if state.slept_at:
            return max(available, state.slept_at)
        known = [self.start_requested_at, *(use.at for use in self.last_uses.values())]
        return max(available, *known, state.last_activity or available)

    @property
    def ran_before(self) -> bool:
        """It has been ready before it was last asked to start, as far as is known."""
        return bool(self.start_times or self.last_nodes or self.last_uses)

    def with_start(self, times: StartTimes) -> tuple[StartTimes, ...]:
        """`start_times` with this start added."""
        return (*self.start_times, times)[-STARTS_KEPT:]

    def with_use(self, user: User, now: datetime) -> dict[str, LastUse]:
        """`last_uses` with this use added; the latest USERS_KEPT people only."""
        uses = self.last_uses | {user.id: LastUse(who=user.name, at=now)}
        return dict(sorted(uses.items(), key=lambda item: item[1].at)[-USERS_KEPT:])
