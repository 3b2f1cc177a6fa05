"""Who uses a model, and what happens when nobody does."""
