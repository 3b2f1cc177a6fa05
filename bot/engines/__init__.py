"""What serves a model, one folder for each engine."""
