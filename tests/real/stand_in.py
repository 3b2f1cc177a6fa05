"""A small server in the place of vLLM, for tests of what happens around it: it starts in seconds, not in a
minute, and ends as it is told. It runs in an engine's pod as `python3 -c`, with the standard library alone.

SECONDS says how long it loads. ENDS, such as "139 0", are the exit codes of its first runs, each after a
second; SAYS is what it logs before such an end."""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
RUNS = Path("/tmp/home/runs")
"""How many have begun: the volume outlives a container."""
METRICS = """vllm:num_requests_running 0.0
vllm:num_requests_waiting 0.0
vllm:prompt_tokens_total 1.0
vllm:generation_tokens_total 1.0
"""


def patch(seconds: int = 1, ends: str = "", says: str = "", **of_the_pod: Any) -> Json:
    """What `RealCluster.mutate` needs so that a model's pods run this; `ends` and `says` as above."""
    settings = {"SECONDS": str(seconds), "ENDS": ends, "SAYS": says}
    container = {
        "name": "vllm",
        "command": ["python3", "-c", Path(__file__).read_text()],
        "env": [{"name": name, "value": value} for name, value in settings.items()],
    }
    return {"spec": {"containers": [container | of_the_pod.pop("container", {})], **of_the_pod}}


def filler(node: str, requests: Json) -> str:
    """A pod, for `kubectl create -f -`, that asks for so much of a node and does nothing."""
    wait = {"command": ["sleep", "infinity"], "resources": {"requests": requests}}
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "filler", "image": "docker.io/vllm/vllm-openai:v0.8.5.post1"} | wait],
    }
    named = {"generateName": "filler-", "labels": {"filler": ""}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": spec})


def main() -> None:
    """End as told, or load and then serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # who is the first process ignores it else
    runs = int(RUNS.read_text()) if RUNS.exists() else 0
    RUNS.write_text(str(runs + 1))
    ends = os.environ["ENDS"].split()
    if runs < len(ends):
        print(os.environ["SAYS"], flush=True)
        time.sleep(4)  # longer than a chat waits until it shows the next change
        sys.exit(int(ends[runs]))
    print("INFO Automatically detected platform cuda.", flush=True)
    print("INFO Loading safetensors checkpoint shards:   0% Completed | 0/2", flush=True)
    time.sleep(float(os.environ["SECONDS"]))
    server = ThreadingHTTPServer(("", 8000), Handler)
    print("INFO:     Application startup complete.", flush=True)
    server.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """What the bot and a kubelet ask a vLLM."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health, metrics, and whatever else: nothing."""
        self._answer(METRICS if self.path == "/metrics" else "{}", "text/plain")

    def do_POST(self) -> None:
        """One word to each question."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        delta = {"choices": [{"delta": {"content": "hello"}, "finish_reason": "stop"}], "usage": None}
        end = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        stream = "".join(f"data: {json.dumps(part)}\n\n" for part in (delta, end)) + "data: [DONE]\n\n"
        self._answer(stream, "text/event-stream")

    def _answer(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: probes are many."""


if __name__ == "__main__" and "SECONDS" in os.environ:
    main()
