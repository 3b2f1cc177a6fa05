"""Secrets in foreign text."""

import time
from pathlib import Path

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
    "AKIA" + "X9KQ2LMZ7PQ4ABCD",
    f"aws_secret_access_key = '{SECRET}'",
    f"github_pat_{SECRET}",
    f"ghp_{SECRET}",
    f"sk-proj-{SECRET}",
    f"eyJhbGciOi.eyJzdWIiOi.{SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET * 4}\n{SECRET}=\n-----END RSA PRIVATE KEY-----",
    f'"key": "-----BEGIN PRIVATE KEY-----\\n{SECRET * 4}\\n{SECRET}\\n-----END PRIVATE KEY-----\\n"',
    f"-----BEGIN PRIVATE KEY-----\n{SECRET * 4}",
    f"pwd={SECRET}",
    f"PASSWORD = {SECRET}",
    f"token => '{SECRET}'",
    f"Authorization: Token {SECRET}",
    f"authorization={SECRET}",
    f"'Authorization': 'Basic {SECRET}=='",
    f"postgresql://bot:p@ss{SECRET}@w:rd@db.svc/bot",
    f"vllm serve m --api-key {SECRET} --port 8000",
    f"['--api-key', '{SECRET}']",
    f"api_key=['{SECRET}']",
    f"{{'password': '{SECRET}'}}",
]
HARMLESS = [
    "The model's max seq len (8192) is larger than the maximum number of tokens (5904)",
    "max_tokens=400, token=None, api_key=null",
    "http://proxy.example.org:8080/v1",
    "Unknown token: the tokenizer has none",
    "loading from user@host:/models",
    "sh: 1: /etc/passwd: Permission denied",
    "does not exist or may require authorization: authorization failed: no basic auth credentials",
    'File "huggingface_hub/file_download.py", line 1194, in _hf_hub_download_to_cache_dir',
    "hf_hub_download(repo_id='m')",
    'secret "llm-hf-token" not found',
    "a basic example of sk-learn-contrib-lightning",
    "bos_token_id: 1, tokens/s: 41.5, prompt_tokens: 2000",
    "http://[::1]:8000/v1",
]
LOGS = [*Path(__file__).parent.glob("logs/**/*.log"), *Path(__file__).parents[2].glob("fixtures/**/*.json*")]


@pytest.mark.parametrize("line", LINES)
def test_secrets_are_hidden(line: str) -> None:
    assert SECRET not in redact(line) and "•••" in redact(line)


@pytest.mark.parametrize("line", HARMLESS)
def test_all_else_stays(line: str) -> None:
    assert redact(line) == line


def test_the_logs_of_real_runs_hold_no_secret_and_stay_as_they_are() -> None:
    assert len(LOGS) > 20
    for log in LOGS:
        assert redact(log.read_text()) == log.read_text(), log


def test_what_is_hidden_stays_hidden() -> None:
    for line in LINES:
        assert redact(redact(line)) == redact(line)


def test_the_evidence_of_a_diagnosis_has_none() -> None:
    found = diagnose([f"ERROR OSError: You are trying to access a gated repo. token=hf_{SECRET}\n"])
    assert found.cause == "gated_model" and SECRET not in found.evidence


@given(st.text(), st.sampled_from(LINES), st.text())
def test_wherever_they_stand(before: str, line: str, after: str) -> None:
    assert SECRET not in redact(f"{before} {line} {after}")


@pytest.mark.parametrize(
    "piece", ["token", "://a", "a:b", "bearer ", "hf_", "api_key='", "eyJ-", "sk-", "aws", "xoxb-1-", "A"]
)
def test_no_input_takes_long(piece: str) -> None:
    long = piece * (1_000_000 // len(piece))
    begun = time.perf_counter()
    redact(long)
    assert time.perf_counter() - begun < 5  # quadratic would be minutes
