"""What an alert says to do is about what it tells of, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bot.core.alerts.alert_messages import message
from bot.core.alerts.state import Alert, AlertKind
from bot.core.chat.text import Text

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_pod_that_does_not_end_is_looked_for_and_deleted_alone(
    say: Callable[[Text, str], str], language: str
) -> None:
    alert = Alert(number=1, kind=AlertKind.ENDING, about="qwen2.5-7b", since=NOW)
    [to_do] = message(alert, (), NOW).lines
    told = say(to_do, language)
    assert "kubectl get pods -l llm-bot/workload=llm-qwen2-5-7b" in told
    assert "kubectl delete pod POD --force" in told and "delete pod -l" not in told
