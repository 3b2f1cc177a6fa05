"""Starting, changing and stopping models, and the queue of those that wait for GPUs."""
