"""Attacks: what persons, models, pods and faults do to the bot, and that it stands."""

import os

THOROUGH = bool(os.environ.get("THOROUGH"))
"""Attacks that can go on for long do: as in `make e2e`."""
