"""Which exception the others come from."""

import pytest

from bot.core.failures.diagnosis import diagnose
from bot.core.failures.log_signs import WRAPPERS
from bot.core.failures.root_exception import RootException

WORKER = "(Worker_TP1 pid=9) ERROR 11-27 10:32:10 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=7) ERROR 11-27 10:32:12 [core.py:1510] "
API = "(APIServer pid=1) "
ROOT = "RuntimeError: nobody knows this one"
SERVES = "INFO:     Application startup complete.\n"


def evidence(log: str) -> str:
    root = RootException()
    root.look(log, len(log), 0)
    found = root.evidence()
    return found.text if found else ""


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_no_wrapper_is_shown_in_place_of_the_root(wrapper: str) -> None:
    log = f"{CORE}{wrapper}\n{CORE}RuntimeError: {wrapper}\n{WORKER}{ROOT}\n{API}RuntimeError: {wrapper}\n"
    assert evidence(log) == ROOT


def test_the_first_of_several_exceptions_is_the_root() -> None:
    assert evidence(f"{WORKER}{ROOT}\n{CORE}ValueError: the worker is gone\n") == ROOT


def test_one_that_says_little_gives_way_to_the_next_of_its_process_only() -> None:
    weak = f"{WORKER}KeyError: 'x'\n"
    assert evidence(weak) == "KeyError: 'x'"
    assert evidence(f"{weak}{CORE}ValueError: the worker is gone\n{WORKER}{ROOT}\n") == ROOT
    assert evidence(f"{weak}{CORE}{ROOT}\n") == "KeyError: 'x'"


def test_a_bare_assertion_is_shown_with_what_it_asserts() -> None:
    log = f"{WORKER}    assert heads == 8\n{WORKER}           ^^^^^^^^^^\n{WORKER}AssertionError\n"
    assert evidence(log) == "AssertionError: assert heads == 8"


def test_without_an_exception_an_error_is_shown_and_else_the_wrapper() -> None:
    assert evidence(f"{CORE}EngineCore failed to start.\n{CORE}The disk is odd.\n") == "The disk is odd."
    assert evidence(f"{CORE}EngineCore failed to start.\n") == "EngineCore failed to start."
    assert evidence("Fatal Python error: Segmentation fault\n").startswith("Fatal Python error")
    assert evidence("python3: X.cpp:8: f(): Assertion `a == b' failed.\n").startswith("python3: X.cpp")


def test_what_a_warning_says_is_no_failure() -> None:
    assert evidence(f"WARNING 11-27 10:00:00 [x.py:1] {ROOT}\nINFO 11-27 10:00:00 [x.py:1] {ROOT}\n") == ""


def test_a_request_that_was_refused_is_not_why_the_engine_died_later() -> None:
    refused = f"{SERVES}{API}ERROR 11-27 10:00:00 [serving.py:1] ValueError: too long\n"
    died = f"{API}vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\n"
    assert evidence(refused) == ""
    worker = f"{WORKER}{ROOT}\n{CORE}RuntimeError: Worker failed with error 'x'\n"
    assert evidence(f"{refused}{worker}{died}{API}OSError: gone\n") == ROOT
    killed = "Worker proc VllmWorker-0 died unexpectedly, shutting down executor."
    assert evidence(f"{refused}{CORE}{killed}\n{died}") == killed


def test_a_server_that_was_told_to_stop_did_not_die() -> None:
    log = f"{SERVES}INFO 11-27 10:00:00 [launcher.py:254] [shutdown] API server: shutdown triggered\n"
    assert evidence(f"{log}{API}ERROR 11-27 10:00:01 [a.py:1] EngineDeadError: gone\n") == ""


def test_secrets_are_hidden_in_what_nobody_knows() -> None:
    token = "hf_" + "a" * 34
    found = diagnose([f"{WORKER}ValueError: {'x' * 270} token={token}\n"])
    assert found.cause == "unknown" and "hf_" not in found.evidence
    asserted = diagnose([f"    assert token == '{token}'\nAssertionError\n"])
    assert asserted.evidence.startswith("AssertionError: assert token") and "hf_" not in asserted.evidence
