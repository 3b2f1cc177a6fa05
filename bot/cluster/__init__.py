"""The Kubernetes API: models, their Open WebUI and what the bot remembers, as objects of a cluster."""
