"""Rules without side effects, and the ports."""
