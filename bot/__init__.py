"""llm-bot: vLLM models on a shared GPU cluster, from a chat."""
