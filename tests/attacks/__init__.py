"""Attacks: what a person, a model, a pod or a fault may try, by the number of its kind."""
