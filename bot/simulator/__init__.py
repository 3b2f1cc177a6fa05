"""The embedded default: an in-memory Cluster with V100 nodes and a small vLLM-compatible server."""
