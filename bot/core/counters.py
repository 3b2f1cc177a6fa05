"""Counters and histograms for Prometheus; `bot/app/gauges.py` has the gauges, computed at each scrape."""

from prometheus_client import Counter, Histogram

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds of buckets, in seconds, for what takes moments."""
SLOW = (15, 30, 60, 120, 180, 240, 300, 420, 600, 900, 1800, 3600)
"""Upper bounds of buckets, in seconds, for what takes minutes."""

COMMANDS = Counter("llm_bot_commands", "Commands", ["verb", "outcome", "platform"])
FIRST_REPLY = Histogram(
    "llm_bot_first_reply_seconds", "From a command to its first reply", ["platform"], buckets=FAST
)
SWEEP = Histogram("llm_bot_sweep_seconds", "Duration of a sweep", buckets=FAST)
SCALE_DOWNS = Counter("llm_bot_scale_downs", "Models put to sleep by the bot", ["reason"])
STARTS = Histogram(
    "llm_bot_start_seconds",
    "From pod to ready, if nothing interrupted it",
    buckets=SLOW,
)
API_ERRORS = Counter("llm_bot_api_errors", "Answers of the Kubernetes API that are no success", ["status"])
FAILURES = Counter("llm_bot_failures", "Exceptions that stayed with one model or object", ["work"])
ALERTS = Counter("llm_bot_alerts", "Alerts opened", ["kind"])
REFUSED = Counter("llm_bot_refused_requests", "Requests refused as too many were at work", ["limit"])
