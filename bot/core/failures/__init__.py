"""Why a model did not start: causes, the log that shows them, remedies."""
