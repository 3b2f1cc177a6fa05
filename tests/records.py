"""A Record and a Spec with a value in every field, and changes that empty every field that can be empty."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.access.roles import Role
from bot.core.chat.message import Place
from bot.core.deployment.ending import Ending
from bot.core.deployment.record import LastUse, Record, RecordChanges, SleepReason, SleepState
from bot.core.deployment.start_times import StartTimes
from bot.core.fit.shape import Shape

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
    no_room_told=True,
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
    "no_room_told": False,
    "urgent": False,
    "last_uses": {},
    "last_nodes": (),
    "pending_questions": {},
}
CHANGED: RecordChanges = {
    "owner": "slack:U0EVE",
    "owner_name": "Eve",
    "role": Role.STUDENT,
    "start_requested_at": NOW + timedelta(hours=1),
    **EMPTY,
}
"""Another value for every field of FULL; where it can be empty, it is."""
PLAIN = Record(owner=FULL.owner, owner_name=FULL.owner_name, role=FULL.role, start_requested_at=NOW)
"""What is left of FULL when everything is emptied."""

ALL_SPEC: dict[str, Any] = {
    "model": "big",
    "repo": "org/big",
    "quantization": "gptq",
    "tensor_parallel_size": 2,
    "max_model_len": 8192,
    "shape": Shape(
        num_hidden_layers=2,
        hidden_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        vocab_size=1000,
    ),
    "gpu_memory_utilization": 0.8,
    "enforce_eager": True,
    "kv_cache_tokens": 1000,
    "weights_gib": 15.0,
    "replicas": 2,
}
"""Every field of a Spec but the name."""
OTHER_SPEC: dict[str, Any] = {
    "model": "small",
    "repo": "org/small",
    "quantization": "none",
    "tensor_parallel_size": 1,
    "max_model_len": 512,
    "shape": None,
    "gpu_memory_utilization": 0.9,
    "enforce_eager": False,
    "kv_cache_tokens": 0,
    "weights_gib": 0.0,
    "replicas": 1,
}
"""Another value for each of them: that which is not written down, where there is one."""
