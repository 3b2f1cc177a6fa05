"""Chaos: whatever is killed, cut, stopped or refused, in the end the cluster is what was asked, each command
was answered once and truly, nothing is orphaned, no question lost, no GPU booked twice.

CHAOS_SEED says which storm it is: the same people and faults, though not in
the same order to the millisecond."""

import os
from pathlib import Path

from tests.attacks import THOROUGH
from tests.attacks.storm import storm
from tests.real.control_plane import ControlPlane

SECONDS = 600 if THOROUGH else 60
SEED = os.environ.get("CHAOS_SEED", "16")


async def test_after_a_storm_everything_is_as_it_was_told(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with storm(control_plane, tmp_path, SEED) as raging:
        await raging.rage(SECONDS)
        wrong = await raging.calm()
        print(f"CHAOS_SEED={SEED} {SECONDS} s: {raging.figures()}")
        assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong, *raging.stories(wrong)])
