"""Start, change and stop models; the queue of those that wait for GPUs."""
