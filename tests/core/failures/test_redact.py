"""Secrets in foreign text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.failures.diagnosis import diagnose
from bot.core.failures.redact import redact

SECRET = "x9Kq2LmZ7pQ4"
LINES = [
    f"HF_TOKEN=hf_{SECRET}",
    f"Authorization: Bearer {SECRET}.a-b",
    f"GET https://user:{SECRET}@proxy.example.org/models",
    f"git clone https://oauth2:glpat-{SECRET}@git.example.org/x",
    f"--api-key {SECRET}",
    f"args: Namespace(api_key='{SECRET}', token=None)",
    f'{{"api_key": "{SECRET}", "model": "m"}}',
    f"password: {SECRET}",
    f"SECRET={SECRET}",
    f"slack token xoxb-1234-{SECRET}",
]
HARMLESS = [
    "The model's max seq len (8192) is larger than the maximum number of tokens (5904)",
    "max_tokens=400, token=None, api_key=null",
    "http://proxy.example.org:8080/v1",
    "Unknown token: the tokenizer has none",
    "loading from user@host:/models",
]


@pytest.mark.parametrize("line", LINES)
def test_secrets_are_hidden(line: str) -> None:
    assert SECRET not in redact(line) and "•••" in redact(line)


@pytest.mark.parametrize("line", HARMLESS)
def test_all_else_stays(line: str) -> None:
    assert redact(line) == line


def test_the_evidence_of_a_diagnosis_has_none() -> None:
    found = diagnose([f"ERROR OSError: You are trying to access a gated repo. token=hf_{SECRET}\n"])
    assert found.cause == "gated_model" and SECRET not in found.evidence


@given(st.text(), st.sampled_from(LINES), st.text())
def test_wherever_they_stand(before: str, line: str, after: str) -> None:
    assert SECRET not in redact(f"{before} {line} {after}")


@pytest.mark.parametrize("piece", ["token", "://a", "a:b", "bearer ", "hf_", "api_key='"])
def test_no_input_takes_long(piece: str) -> None:
    long = piece * (1_000_000 // len(piece))
    begun = time.perf_counter()
    redact(long)
    assert time.perf_counter() - begun < 5  # quadratic would be minutes
