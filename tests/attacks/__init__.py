"""Attacks: what persons, models, pods and faults do to the bot, and that it stands."""
