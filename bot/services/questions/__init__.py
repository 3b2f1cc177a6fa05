"""Questions to models: which one is meant, waiting until it is ready, the answer."""
