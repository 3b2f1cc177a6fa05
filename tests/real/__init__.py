"""Real parts for tests: a Kubernetes control plane, a kubelet that stands in for nodes, a vLLM."""
