"""Figures from the cluster's Prometheus, and the chart of a report."""
