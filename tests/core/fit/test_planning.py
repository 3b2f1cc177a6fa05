"""From what was asked for to what would run."""

from pathlib import Path

import pytest

from bot.core.chat.errors import UserError
from bot.core.fit.catalog import read_catalog
from bot.core.fit.gpu import PROFILES, Quantization
from bot.core.fit.planning import Option, Planner, PlanRequest, spec_of
from bot.core.fit.shape import parse_shape

CATALOG = read_catalog(Path(__file__).parents[3] / "manifests" / "catalog.yaml")
PLANNER = Planner(CATALOG, PROFILES["v100-16gb"])
TINY = parse_shape("22/2048/32/4/64/5632/32000/2048")


def brief(option: Option) -> tuple[int, str, int]:
    return option.setup.tensor_parallel_size, option.setup.quantization.value, option.setup.max_model_len


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-3-8b", (2, "none", 8192)),
        ("llama3", (2, "none", 8192)),
        ("Meta-Llama/meta-llama-3-8b-instruct", (2, "none", 8192)),
        ("qwen2.5-7b", (2, "none", 8192)),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", (1, "gptq", 8192)),
        ("qwen3-4b", (1, "none", 8192)),
        ("qwen3-14b", (4, "none", 8192)),
        ("phi3", (1, "none", 4096)),
        ("tinyllama", (1, "none", 2048)),
    ],
)
def test_defaults(name: str, expected: tuple[int, str, int]) -> None:
    verdict = PLANNER.judge(PlanRequest(name))
    assert verdict.fits and brief(verdict.option) == expected


def test_every_model_of_the_catalog_runs_or_has_something_that_does() -> None:
    for key in CATALOG.entries:
        verdict = PLANNER.judge(PlanRequest(key))
        assert verdict.fits or verdict.alternatives, key
        assert all(option.fit.fits for option in verdict.alternatives)
        assert len(verdict.alternatives) <= 3


@pytest.mark.parametrize(
    ("request_", "first"),
    [
        (PlanRequest("llama-3-8b", 1), (2, "none", 8192)),
        (PlanRequest("qwen2.5-7b", quantization=Quantization.AWQ), (1, "gptq", 8192)),
        (PlanRequest("qwen2.5-7b", max_model_len=65536), (2, "none", 32768)),
        (PlanRequest("llama-3-70b"), (4, "gptq", 8192)),
    ],
)
def test_the_nearest_alternative_comes_first(request_: PlanRequest, first: tuple[int, str, int]) -> None:
    assert brief(PLANNER.judge(request_).alternatives[0]) == first


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("gemma2", "fp16_unstable"),
        ("gemma-3-12b", "fp16_unstable"),
        ("mixtral", "moe_kernels"),
        ("gpt-oss", "mxfp4"),
    ],
)
def test_refused_models_say_why_and_what_instead(name: str, because: str) -> None:
    verdict = PLANNER.judge(PlanRequest(name))
    assert verdict.reasons[0].params["because"].key == f"refused.{because}"
    found = CATALOG.find(name)
    assert found and found[0].refused
    assert {option.entry.key for option in verdict.alternatives} == set(found[0].refused.instead)


def test_a_newer_gpu_runs_what_a_v100_refuses() -> None:
    planner = Planner(CATALOG, PROFILES["a100-80gb"])
    assert planner.judge(PlanRequest("gemma-2-9b")).fits
    with pytest.raises(UserError) as unknown:
        planner.judge(PlanRequest("gpt-oss-20b"))
    assert unknown.value.text.key == "model.no_shape"


def test_an_unlisted_repository_needs_a_shape() -> None:
    with pytest.raises(UserError) as unknown:
        PLANNER.judge(PlanRequest("some/Tiny-Model"))
    assert unknown.value.text.key == "model.unknown_shape"
    verdict = PLANNER.judge(PlanRequest("some/Tiny.Model_1", shape=TINY))
    assert verdict.fits and verdict.option.entry.key == "tiny.model-1"
    awq = PLANNER.judge(PlanRequest("some/Tiny-AWQ", shape=TINY))
    assert [text.key for text in awq.reasons] == ["fit.format"]
    gptq = PLANNER.judge(PlanRequest("some/Tiny-GPTQ-Int4", shape=TINY))
    assert gptq.fits and gptq.option.entry.repo_for(Quantization.GPTQ) == "some/Tiny-GPTQ-Int4"


def test_a_format_without_a_repository_is_said() -> None:
    verdict = PLANNER.judge(PlanRequest("deepseek-r1-8b", quantization=Quantization.GPTQ))
    assert [text.key for text in verdict.reasons] == ["fit.no_repo"]
    assert verdict.alternatives


def test_tight_memory_goes_without_cuda_graphs() -> None:
    roomy = PLANNER.judge(PlanRequest("llama-3-8b")).option
    tight = PLANNER.judge(PlanRequest("llama-3-8b", 2, gpu_memory_utilization=0.95)).option
    assert not spec_of(roomy, "x", 1).enforce_eager
    assert spec_of(tight, "x", 1).enforce_eager


def test_the_catalog_tells_what_is_wrong_with_an_entry(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("models:\n  x: {repo: nonsense}\n")
    with pytest.raises(ValueError, match="repo"):
        read_catalog(file)
    file.write_text("models:\n  a: {repo: x/a, aliases: [b]}\n  b: {repo: x/b}\n")
    with pytest.raises(ValueError, match="'b' names both a and b"):
        read_catalog(file)
