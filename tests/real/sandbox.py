"""Processes with mounts, a network and process numbers of their own: they end, all of them, with this one."""

import signal
import subprocess
from pathlib import Path

INIT = """set -e
mount -t tmpfs none /run
ip link set lo up
{setup}
echo up
trap '' CHLD # whose parents are gone are nobody's to wait for
exec cat >/dev/null"""
"""The first process of a sandbox ends when its standard input does, which no kill -9 of ours can prevent;
the kernel then ends all others, takes down their network and forgets their mounts."""
NUMBERED = 'echo $$ >"$0"; exec "$@"'


class SandboxFailed(Exception):
    """The machine does not let us: what it said."""


class Sandbox:
    """A folder of this machine is the same folder inside, but for /run and what `setup` mounts."""

    def __init__(self, *setup: str) -> None:
        script = INIT.format(setup="\n".join(setup))
        namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._init = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._init.pid
        """Its namespaces are those of this process of the machine (`ip link … netns PID`)."""
        self._inside: list[Inside] = []
        assert self._init.stdout and self._init.stderr
        if self._init.stdout.readline() != b"up\n":
            said = self._init.stderr.read().decode().strip()
            self.close()
            raise SandboxFailed(said)

    def enter(self, *command: str) -> list[str]:
        """The command that runs a command inside."""
        folder = f"/proc/{self.pid}/ns"
        namespaces = (f"--mount={folder}/mnt", f"--net={folder}/net", f"--pid={folder}/pid_for_children")
        return ["nsenter", *namespaces, "--", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """What it prints; AssertionError with what it complains of if it fails."""
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, check=False, timeout=240)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def start(self, command: list[str], log: Path) -> "Inside":
        """Start a process that goes on; its log is appended to."""
        inside = Inside(self, command, log)
        self._inside.append(inside)
        return inside

    def close(self) -> None:
        """End everything inside."""
        for stream in (self._init.stdin, self._init.stdout, self._init.stderr):
            assert stream
            stream.close()
        for inside in self._inside:
            inside.wait()
        self._init.wait()


class Inside:
    """A process in a sandbox; what we started is only the one that entered for it."""

    def __init__(self, sandbox: Sandbox, command: list[str], log: Path) -> None:
        self._sandbox = sandbox
        self._number = log.with_suffix(".pid")
        self._number.unlink(missing_ok=True)
        with log.open("ab") as file:
            self._entered = subprocess.Popen(
                sandbox.enter("sh", "-c", NUMBERED, str(self._number), *command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def send_signal(self, what: signal.Signals) -> None:
        """A signal; nothing happens if it has ended."""
        number = self._number.read_text().strip()
        self._sandbox.run("kill", f"-{what.value}", number, check=False)
        if what is signal.SIGCONT:
            self._entered.send_signal(what)  # nsenter stops itself when what it has started is stopped

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._entered.poll()

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._entered.wait()
