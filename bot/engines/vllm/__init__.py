"""vLLM: its OpenAI API and its metrics."""
