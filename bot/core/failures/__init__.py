"""Why a model failed: causes, the lines of a log that show them, and remedies."""
