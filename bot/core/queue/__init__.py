"""The order in which deployments get GPUs when there are not enough."""
