"""Open WebUI beside the models."""
