"""vLLM: its YAML and arguments, its progress while it starts, its OpenAI API and its metrics."""
