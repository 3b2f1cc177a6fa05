"""A Record with a value in every field, and changes that empty every field that can be empty."""

from datetime import UTC, datetime, timedelta

from bot.core.access.roles import Role
from bot.core.chat.message import Place
from bot.core.deployment.ending import Ending
from bot.core.deployment.record import LastUse, Record, RecordChanges, SleepReason, SleepState
from bot.core.deployment.start_times import StartTimes

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
FULL = Record(
    owner="slack:U0ADA",
    owner_name='[Ada] "L."',
    role=Role.ADMIN,
    locale="de",
    card_place=Place("slack", "C1", "1.0"),
    card_message_id="m1",
    announced_news="ready:x",
    start_requested_at=NOW,
    start_times=(
        StartTimes(waiting=2, pulling=201.5, downloading=60.4, loading=90.2),
        StartTimes(waiting=600, pulling=None, downloading=0, loading=88),
    ),
    ready_at=NOW,
    last_end=Ending(number=2, run="uid/1", at=NOW, cause="cuda_oom", exit_code=1, log_read=True),
    lease_ends_at=NOW + timedelta(hours=4),
    keep_until=NOW + timedelta(hours=1),
    idle_window=timedelta(days=1, minutes=45),
    office_hours="mo-fr 08:00-18:00",
    warned_at=NOW,
    warning_message_id="m2",
    sleep_state=SleepState(reason=SleepReason.PERSON, by="Ada", slept_at=NOW, last_activity=NOW, told=True),
    queued_since=NOW,
    held_back="quota.gpus",
    urgent=True,
    last_uses={"slack:U0EVE": LastUse(who="Eve", at=NOW)},
    last_nodes=("icc-gpu-1", "icc-gpu-2"),
    pending_questions={"m3": Place("slack", "D1")},
)
EMPTY: RecordChanges = {
    "locale": "",
    "card_place": None,
    "card_message_id": "",
    "announced_news": "",
    "start_times": (),
    "ready_at": None,
    "last_end": None,
    "lease_ends_at": None,
    "keep_until": None,
    "idle_window": None,
    "office_hours": "",
    "warned_at": None,
    "warning_message_id": "",
    "sleep_state": None,
    "queued_since": None,
    "held_back": "",
    "urgent": False,
    "last_uses": {},
    "last_nodes": (),
    "pending_questions": {},
}
PLAIN = Record(owner=FULL.owner, owner_name=FULL.owner_name, role=FULL.role, start_requested_at=NOW)
"""What is left of FULL when everything is emptied."""
