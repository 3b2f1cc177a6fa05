"""The memory model against figures published for V100s, and the rules of compute capability 7.0."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.fit.gpu import PROFILES, Quantization
from bot.core.fit.shape import Shape, parse_shape, shape_from_config
from bot.core.fit.vram import Setup, context_cap, fit, legal_sizes

V100 = PROFILES["v100-16gb"]
LLAMA = "32/4096/32/8/128/14336/128256/8192"
QWEN_7B = "28/3584/28/4/128/18944/152064/32768"
PHI_4 = "40/5120/40/10/128/17920/100352/16384"
LLAMA_70B = "80/8192/64/8/128/28672/128256/8192"
NONE, GPTQ = Quantization.NONE, Quantization.GPTQ


@pytest.mark.parametrize(
    ("shape", "quantization", "tp", "thousands"),
    [  # KV cache tokens at utilisation 0.9, length 4096, 64 sequences, as vLLM would have room for
        (LLAMA, NONE, 2, 96),
        (LLAMA, NONE, 4, 317),
        (LLAMA, GPTQ, 1, 66),
        (LLAMA, GPTQ, 2, 174),
        (QWEN_7B, NONE, 2, 233),
        (QWEN_7B, GPTQ, 1, 152),
        ("40/5120/32/8/128/14336/131072/128000", NONE, 2, 25),
        ("48/5120/40/8/128/13824/152064/32768", NONE, 4, 142),
        ("64/5120/40/8/128/27648/152064/32768", GPTQ, 2, 33),
        (LLAMA_70B, GPTQ, 4, 50),
        (PHI_4, GPTQ, 1, 24),
        ("32/3072/32/32/96/8192/32064/4096", NONE, 1, 17),
    ],
)
def test_room_for_tokens(shape: str, quantization: Quantization, tp: int, thousands: int) -> None:
    found = fit(parse_shape(shape), Setup(V100, tp, quantization, 4096, 0.9))
    assert found.fits and found.kv_cache_tokens // 1000 == thousands


@pytest.mark.parametrize(
    ("shape", "setup", "reason"),
    [
        (LLAMA, Setup(V100, 1), "fit.weights"),
        (QWEN_7B, Setup(V100, 1), "fit.cache"),
        (LLAMA_70B, Setup(V100, 4), "fit.weights"),
        (PHI_4, Setup(V100, 4, GPTQ), "fit.kv_heads"),
        ("24/896/14/2/64/4864/151936/32768", Setup(V100, 4), "fit.heads"),
        (QWEN_7B, Setup(V100, 2, Quantization.AWQ), "fit.format"),
        (QWEN_7B, Setup(V100, 2, Quantization.FP8), "fit.format"),
        (LLAMA, Setup(V100, 8), "fit.node"),
        (LLAMA, Setup(V100, 2, NONE, 8193), "fit.positions"),
        ("32/4096/32/8/128/14336/128256/131072", Setup(V100, 4, NONE, 32769), "fit.chunked"),
        ("24/896/14/2/64/4864/151936/32768", Setup(V100, 2, GPTQ), "fit.gptq_group"),
    ],
)
def test_what_speaks_against_it(shape: str, setup: Setup, reason: str) -> None:
    assert reason in [text.key for text in fit(parse_shape(shape), setup).reasons]


def test_what_a_v100_cannot_an_a100_can() -> None:
    a100 = PROFILES["a100-80gb"]
    shape = parse_shape("32/4096/32/8/128/14336/128256/131072")
    for quantization in Quantization:
        assert fit(shape, Setup(a100, 1, quantization, 65536)).fits
    assert context_cap(shape, a100) == 131072 and context_cap(shape, V100) == 32768


def test_heads_are_replicated_when_there_are_fewer_than_gpus() -> None:
    shape = parse_shape("28/1536/12/2/128/8960/151936/32768")
    assert legal_sizes(shape, V100, NONE) == [1, 2, 4]
    two, four = (fit(shape, Setup(V100, tp)) for tp in (2, 4))
    assert four.kv_cache_gib > two.kv_cache_gib
    assert four.kv_cache_tokens < 1.1 * two.kv_cache_tokens  # no token gets cheaper beyond two


@given(
    st.sampled_from([LLAMA, QWEN_7B, PHI_4, LLAMA_70B]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([NONE, GPTQ]),
    st.integers(256, 8192),
)
def test_more_memory_never_makes_it_fit_less(
    shape: str, tp: int, quantization: Quantization, length: int
) -> None:
    parsed = parse_shape(shape)
    small = fit(parsed, Setup(V100, tp, quantization, length))
    large = fit(parsed, Setup(PROFILES["v100-32gb"], tp, quantization, length))
    assert large.kv_cache_tokens >= small.kv_cache_tokens
    assert large.fits or not small.fits


def test_a_config_json_of_hugging_face() -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    }
    assert shape_from_config(config) == parse_shape(LLAMA)
    nested = {"model_type": "gemma3", "text_config": config | {"model_type": "gemma3_text"}}
    assert shape_from_config(json.loads(json.dumps(nested))).tie_word_embeddings
    for broken in ({}, {"hidden_size": 1}, config | {"num_key_value_heads": 5}, config | {"vocab_size": -1}):
        with pytest.raises(ValueError):
            shape_from_config(broken)


@pytest.mark.parametrize("spelled", ["", "1/2", "a/b/c/d/e/f/g", "1/1/3/2/1/1/1", "0/1/1/1/1/1/1"])
def test_a_shape_that_is_none(spelled: str) -> None:
    with pytest.raises(ValueError):
        parse_shape(spelled)


def test_a_shape_is_spelled_as_it_is_read() -> None:
    assert parse_shape(str(parse_shape(LLAMA))) == parse_shape(LLAMA)
    assert parse_shape(LLAMA).parameters == pytest.approx(8.03e9, rel=0.001)
    assert isinstance(parse_shape(LLAMA), Shape)
