"""python -m bot plan · render · bad settings: output for people and programs, and exit codes."""

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.app.settings import Settings
from bot.cli import plan as plan_command
from bot.cli.login import login

ROOT = Path(__file__).parents[1]


def bot_in(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("NAMESPACE", "LANGUAGE")}
    return subprocess.run(
        [sys.executable, "-m", "bot", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        timeout=60,
    )


def bot(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return bot_in(ROOT, *words, **env)


def plan(*words: str) -> tuple[int, dict[str, Any]]:
    done = bot("plan", *words, "--json")
    return done.returncode, json.loads(done.stdout)


def test_plan_as_json() -> None:
    code, answer = plan("llama-3-8b")
    assert code == 0 and answer["fits"] is True and answer["reasons"] == [] and answer["alternatives"] == []
    assert {key: answer[key] for key in ("model", "gpu", "tp", "quantization", "max_model_len")} == {
        "model": "llama-3-8b",
        "gpu": "v100-16gb",
        "tp": 2,
        "quantization": "none",
        "max_model_len": 8192,
    }
    assert answer["weights_gib_per_gpu"] == 7.48 and answer["kv_cache_tokens"] == 91841
    total = sum(answer[f"{part}_gib_per_gpu"] for part in ("weights", "activation", "kv_cache"))
    assert total == pytest.approx(15.77 * 0.9 - 0.45, abs=0.02)


def test_plan_that_does_not_fit() -> None:
    code, answer = plan("llama-3-8b", "tp=1")
    assert code == 1 and answer["fits"] is False
    assert answer["reasons"] == ["weights alone are 15.0 of 14.2 usable GiB."]
    assert answer["alternatives"][0] == {
        "tp": 2,
        "quantization": "none",
        "max_model_len": 8192,
        "command": "deploy llama-3-8b tp=2",
    }


@pytest.mark.parametrize(
    "words", [["--gpu", "a100-80gb"], ["--gpu=A100-80GB"], ["--gpu-mem", "80"], ["gpu=h200"]]
)
def test_plan_for_another_gpu(words: list[str]) -> None:
    code, answer = plan("llama-3-8b", "tp=1", *words)
    assert code == 0 and answer["tp"] == 1


def test_plan_of_a_config_json(tmp_path: Path) -> None:
    config = tmp_path / "config file.json"
    config.write_text(
        json.dumps(
            {
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_attention_heads": 32,
                "num_hidden_layers": 32,
                "num_key_value_heads": 8,
                "vocab_size": 128256,
                "max_position_embeddings": 8192,
            }
        )
    )
    code, answer = plan("some/model", "--config", str(config))
    assert code == 0 and answer["tp"] == 2 and answer["kv_cache_tokens"] == 91841
    code, answer = plan("model", f"--config={config}", "--quant", "awq")
    assert code == 1 and answer["reasons"][0].startswith("AWQ does not run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lama-3-8b"], "I do not know any model called “lama-3-8b”.\n  [1 /llm plan llama-3-8b]"),
        (["llama-3-8b", "tp=x"], "tp takes a number, not “x”."),
        (["llama-3-8b", "--bogus", "1"], "plan has no option “bogus”."),
        (["llama-3-8b", "--gpu", "abacus"], "gpu cannot be “abacus”"),
        (["x/y", "--config", "/nowhere"], "/nowhere is not the config.json of a model"),
        ([], "model is missing."),
    ],
)
def test_plan_of_nonsense(words: list[str], says: str) -> None:
    done = bot("plan", *words)
    assert done.returncode == 2 and says in done.stderr and done.stdout == ""


CONFIG = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("[1]", "it has no fields"),
        ('"s"', "it has no fields"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        (json.dumps(CONFIG | {"hidden_size": "abc"}), "hidden_size cannot be “abc”"),
        (json.dumps(CONFIG | {"num_attention_heads": -32}), "num_attention_heads cannot be “-32”"),
        (json.dumps(CONFIG | {"vocab_size": -1}), "vocab_size cannot be “-1”"),
        (json.dumps(CONFIG | {"hidden_size": float("inf")}), "hidden_size cannot be “inf”"),
        (json.dumps(CONFIG | {"hidden_size": None}), "hidden_size is missing"),
        (json.dumps(CONFIG | {"text_config": "s"}), "text_config cannot be “s”"),
        ('{"hidden_size": 8, "num_attention_heads": 8}', "num_hidden_layers is missing"),
        (
            json.dumps(CONFIG | {"num_key_value_heads": 5}),
            "num_attention_heads must be a multiple of num_key_value_heads",
        ),
    ],
)
def test_a_config_json_that_is_none_is_one_sentence_that_names_the_field(
    tmp_path: Path, config: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(config)
    assert plan_command.plan(["x", "--config", str(file)], Settings(language="en")) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"✕ {file} is not the config.json of a model: {why}\n")


def test_render_prints_manifests_and_nothing_else() -> None:
    done = bot("render", "deploy", "llama-3-8b", "--name", "my-llama", "max-len=4k", NAMESPACE="w123")
    assert done.returncode == 0 and done.stderr == ""
    kinds = {thing["kind"]: thing for thing in yaml.safe_load_all(done.stdout)}
    assert set(kinds) == {"PersistentVolumeClaim", "Secret", "Service", "Deployment"}
    assert kinds["Deployment"]["metadata"]["namespace"] == "w123"
    assert "--max-model-len=4096" in kinds["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deploy", "llama-3-8b", "tp=1"], "llama-3-8b does not fit on one"),
        (["deploy", "llama-3-8b", "name=UPPER_case"], "“upper_case” cannot be a name."),
        (["stop", "x"], "render knows: deploy.\n  usage: python -m bot render deploy MODEL"),
        ([], "render knows: deploy.\n"),
    ],
)
def test_render_refuses_what_cannot_run(words: list[str], says: str) -> None:
    done = bot("render", *words)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith(f"✕ {says}")


@pytest.mark.parametrize(
    ("words", "usage", "example"),
    [
        (["plan", "--help"], "plan MODEL [tp=", "plan my/model --config config.json"),
        (["plan", "llama-3-8b", "-h"], "[gpu-mem=", "python -m bot plan llama-3-8b tp=2"),
        (["render", "--help"], "render deploy MODEL [tp=", "python -m bot render deploy llama-3-8b\n"),
    ],
)
def test_help_of_a_command_shows_its_arguments_and_examples(
    words: list[str], usage: str, example: str
) -> None:
    done = bot(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m bot" in done.stdout and usage in done.stdout and example in done.stdout
    assert "max-len — context in tokens" in done.stdout


def test_every_wrong_setting_in_one_line_each() -> None:
    done = bot(
        "demo", LANGUAGE="fr", SWEEP_INTERVAL="often", HTTP_PORT="x", GPU="abacus", STUDENT_QUOTA="gpus=many"
    )
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.strip().splitlines()
    named = {line.partition("=")[0] for line in lines}
    assert named == {"LANGUAGE", "SWEEP_INTERVAL", "HTTP_PORT", "GPU", "STUDENT_QUOTA"}
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"NAMESPACE=llm\nADMINS=J\xfcrgen\n", ".env, line 2: it is not UTF-8\n"),
        (
            b"NAMESPACE=llm\n\n# admins\n\n\nthis is secret words\nGPU=v100-16gb\n",
            ".env, line 6: write NAME=value, with both quotes or none\n",
        ),
        (b"HF_TOKEN='secret\n", ".env, line 1: write NAME=value, with both quotes or none\n"),
    ],
)
def test_a_mistake_in_the_file_of_settings_is_told_once_with_its_line(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / ".env").write_bytes(content)
    done = bot_in(tmp_path, "plan", "tinyllama")
    assert (done.returncode, done.stderr, done.stdout) == (2, told, "")


def test_a_cluster_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    done = bot("run", "--platform", "console", KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "cannot be reached" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"# A heading\n\n**Type it** and `see`.\n",
        b"",
        b"\x00\xff\xfe",
        b"clusters:\n- name: a\n  clu",
        b"[1]",
    ],
)
def test_a_file_that_is_no_kubeconfig_is_one_line_of_doctor(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    done = bot("doctor", KUBECONFIG=str(file))
    [line] = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert line.startswith(f"fail  the cluster cannot be reached: {file} is not a kubeconfig →")
    assert done.returncode == 1 and done.stderr == ""


def test_a_kubeconfig_that_does_not_exist_is_said_by_name(tmp_path: Path) -> None:
    done = bot("doctor", KUBECONFIG=str(tmp_path / "none"))
    assert f"fail  the cluster cannot be reached: {tmp_path / 'none'} does not exist →" in done.stdout
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_CHANNEL", "C0123"),
        ("ADMIN_CHANNEL", "myslack:C0123"),
        ("CACHE_SIZE", "200 GiB"),
        ("PROMETHEUS_URL", "prometheus:9090"),
        ("SLACK_API_URL", "https://slack.com/api"),
        ("MATTERMOST_CALLBACK_URL", "llm-bot.llm.svc:8080"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused(name: str, value: str) -> None:
    done = bot("doctor", **{name: value})
    assert done.returncode == 2 and done.stderr.startswith(f"{name}={value}: ")
    assert "pattern" not in done.stderr


def test_slack_without_a_way_to_reach_it_is_one_readable_line() -> None:
    done = bot("run", SLACK_BOT_TOKEN="xoxb-secret")
    assert done.returncode == 2 and "xoxb-secret" not in done.stderr
    assert done.stderr.strip() == (
        "SLACK_BOT_TOKEN: also set SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP)"
    )
    done = bot("run", SLACK_APP_TOKEN="xapp-secret")
    assert done.returncode == 2 and "SLACK_BOT_TOKEN is missing" in done.stderr


def test_diagnose_reads_a_log_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_bytes(
        b"INFO 01-01 fine \xff\n" * 1000 + b"ValueError: No available memory for the cache blocks.\n"
    )
    done = bot("diagnose", "--json", str(log))
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["cause"] == "no_kv_cache_memory" and told["line"] == 1001
    assert told["evidence"].startswith("ValueError: No available") and told["summary"] and told["remedy"]
    command = [sys.executable, "-m", "bot", "diagnose"]
    piped = subprocess.run(command, input=log.read_bytes(), capture_output=True, cwd=ROOT)
    assert b"1001: ValueError: No available memory" in piped.stdout
    assert bot("diagnose", str(tmp_path / "none")).returncode == 2


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ("INFO: Application startup complete.\n", 0),
        ("WARNING 01-01 some parameters are ignored\n", 0),
        ("RuntimeError: Engine process failed to start\n", 1),
        ("", 2),
        ("\n \n", 2),
    ],
)
def test_diagnose_tells_a_script_whether_something_is_wrong(tmp_path: Path, log: str, code: int) -> None:
    file = tmp_path / "vllm.log"
    file.write_text(log)
    assert bot("diagnose", str(file)).returncode == code


def test_every_wrong_setting_of_every_platform_is_told_at_once() -> None:
    done = bot("run", LANGUAGE="fr", SLACK_BOT_TOKEN="xoxb-x", MATTERMOST_URL="https://chat.example.org")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and [line.split("_")[0].split("=")[0] for line in lines] == [
        "LANGUAGE",
        "set MATTERMOST",
        "SLACK",
    ]


def test_mattermost_needs_both_an_address_and_a_token_and_real_certificates(tmp_path: Path) -> None:
    done = bot("run", MATTERMOST_URL="https://chat.example.org")
    assert (done.returncode, done.stderr) == (2, "set MATTERMOST_URL and MATTERMOST_TOKEN together\n")
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    both = {"MATTERMOST_URL": "https://chat.example.org", "MATTERMOST_TOKEN": "mm-secret"}
    done = bot("run", **both, MATTERMOST_CA_FILE=str(wrong))
    assert done.returncode == 2 and done.stderr.startswith("MATTERMOST_CA_FILE holds no certificates")
    assert "mm-secret" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_slip_in_the_tokens_of_the_slash_command_is_told_without_them() -> None:
    both = {"MATTERMOST_URL": "https://chat.example.org", "MATTERMOST_TOKEN": "mm-secret"}
    for slip in ("t1:command-secret", "t1=command-secret t2=", "=command-secret"):
        done = bot("run", **both, MATTERMOST_COMMAND_TOKENS=slip)
        told = "MATTERMOST_COMMAND_TOKENS: write team=token, team=token\n"
        assert (done.returncode, done.stderr) == (2, told)


def test_mattermost_setup_says_what_it_needs() -> None:
    done = bot("mattermost-setup")
    assert done.returncode == 1 and done.stderr.startswith("set MATTERMOST_URL, MATTERMOST_TOKEN and")


def test_a_service_that_is_told_to_end_before_it_serves_ends_at_once(tmp_path: Path) -> None:
    """As the first process of a container it would not notice a signal that it has no handler for."""
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        server = f"http://127.0.0.1:{never_answers.getsockname()[1]}"
        cluster = {"name": "x", "cluster": {"server": server}}
        context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
        user = {"name": "x", "user": {"token": "x"}}
        config = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "x"}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KUBECONFIG": str(tmp_path / "kubeconfig")}
        service = subprocess.Popen(
            [sys.executable, "-m", "bot", "run"],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = never_answers.accept()
        with connection:
            service.terminate()
            _, said = service.communicate(timeout=60)
        assert (service.returncode, said) == (0, "")


def test_a_user_without_a_name_is_called_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert login() == str(os.getuid())
