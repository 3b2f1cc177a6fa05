"""Questions to models: choosing the model, waiting until it is ready, and its answer."""
