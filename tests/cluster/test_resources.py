"""CPU and memory of a model's container: the engine's own, the settings', and both together."""

import pytest

from bot.cluster.resources import Resources, amount, lay_over

GPUS = 2


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        ({}, {"cpu": "500m", "memory": "8Gi"}, {"memory": "27Gi"}),
        (
            {"requests": {"cpu": "2"}, "limits": {"cpu": "8"}},
            {"cpu": "4", "memory": "8Gi"},
            {"cpu": "16", "memory": "27Gi"},
        ),
        ({"requests": {"memory": "16Gi"}}, {"cpu": "500m", "memory": "32Gi"}, {"memory": "32Gi"}),
        ({"limits": {"memory": "2000Mi"}}, {"cpu": "500m", "memory": "4000Mi"}, {"memory": "4000Mi"}),
        ({"limits": {"cpu": "100m"}}, {"cpu": "200m", "memory": "8Gi"}, {"cpu": "200m", "memory": "27Gi"}),
    ],
)
def test_what_is_given_for_each_gpu_wins_and_a_request_is_never_above_its_limit(
    given: Resources, requests: dict[str, str], limits: dict[str, str]
) -> None:
    found = {"requests": {"cpu": "500m", "memory": "8Gi"}, "limits": {"memory": "27Gi"}}
    lay_over(found, given, GPUS)
    assert found == {"requests": requests, "limits": limits}


def test_quantities_of_another_unit_can_be_compared() -> None:
    assert amount("500m") < amount("1") and amount("9000Mi") < amount("9Gi") < amount("1Ti")
