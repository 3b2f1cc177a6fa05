"""Hostile people, models, pods and faults; the tests of a kind have its number in their names."""
