"""A platform is a folder, a command a file, a language a file: a made-up one of each is added to a copy of
the bot, and nothing else is changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
FOREIGN = ("SLACK_", "MATTERMOST_", "ADMIN", "LANGUAGE", "NAMESPACE")


class Copy:
    """A copy of the bot, to add to and to run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "bot", root / "bot", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "manifests").symlink_to(ROOT / "manifests")

    def add(self, path: str, text: str) -> None:
        """A file, where no such file is."""
        file = self.root / "bot" / path
        assert not file.exists()
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text).lstrip())

    def run(self, *words: str, typed: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """`python …` in the copy."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        clean |= {"PYTHONPATH": str(self.root), "KUBECONFIG": str(self.root / "none")}
        command = [sys.executable, *words]
        return subprocess.run(
            command, input=typed, capture_output=True, text=True, cwd=self.root, env=clean | env, timeout=120
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.fixture
def with_pigeons(copy: Copy) -> Copy:
    copy.add("platforms/pigeon/__init__.py", '"""Messages by pigeon."""\n')
    copy.add(
        "platforms/pigeon/settings.py",
        '''
        """Settings of the pigeons."""

        from pydantic import Field

        from bot.platforms.shared.settings import PlatformSettings


        class PigeonSettings(PlatformSettings):
            """Without a loft there are none."""

            pigeon_loft: str = Field("", pattern="^(loft-[0-9]+)?$")

            @property
            def configured(self) -> bool:
                return bool(self.pigeon_loft)
        ''',
    )
    copy.add(
        "platforms/pigeon/factory.py",
        '''
        """Settings → pigeons."""

        from bot.core.chat.text import verbatim
        from bot.platforms.shared.platform import Platform


        class Pigeons(Platform):
            name = "pigeon"
            admin_groups = frozenset({"falconers"})

            @property
            def endpoints(self):
                return {"/pigeon/landed": self.landed}

            async def landed(self, request): ...

            async def check(self):
                yield "ok", verbatim(f"the pigeons of {self.loft} are well"), None

            async def listen(self, handle): ...

            async def send(self, place, reply, say): ...

            async def update(self, place, message, reply, say): ...

            async def history(self, place): ...


        def create(settings, surroundings):
            pigeons = Pigeons(surroundings.phrases, surroundings.language)
            pigeons.loft = settings.pigeon_loft
            return pigeons
        ''',
    )
    return copy


def test_a_platform_is_a_folder_that_doctor_looks_at_when_it_is_configured(with_pigeons: Copy) -> None:
    checked = with_pigeons.run("-m", "bot", "doctor", PIGEON_LOFT="loft-7", ADMIN_CHANNEL="pigeon:roof")
    assert "ok    the pigeons of loft-7 are well" in checked.stdout, checked.stderr
    assert "no chat" not in checked.stdout
    without = with_pigeons.run("-m", "bot", "doctor")
    assert without.returncode == 1 and "pigeons" not in without.stdout + without.stderr


def test_the_settings_of_a_new_platform_are_checked_with_all_others(with_pigeons: Copy) -> None:
    wrong = with_pigeons.run("-m", "bot", "run", PIGEON_LOFT="attic", ADMIN_CHANNEL="dove:roof")
    assert wrong.returncode == 2
    assert [line.partition("=")[0] for line in wrong.stderr.splitlines()] == ["ADMIN_CHANNEL", "PIGEON_LOFT"]


def test_the_endpoints_and_the_admins_of_a_new_platform_are_its_own(with_pigeons: Copy) -> None:
    program = """
        from bot.app import platform_factory
        from bot.app.settings import read_settings
        from bot.core.changes import Changes

        platforms = platform_factory.create(*read_settings(), Changes().listening)
        print(*platform_factory.endpoints(platforms), *platforms[0].admin_groups)
    """
    done = with_pigeons.run("-c", dedent(program), PIGEON_LOFT="loft-7")
    assert done.stdout == "/pigeon/landed falconers\n", done.stderr


def test_a_command_is_a_file(copy: Copy) -> None:
    copy.add(
        "commands/greet.py",
        '''
        """/llm greet [NAME] — says hello to somebody."""

        from pydantic import Field

        from bot.core.chat.reply import Reply
        from bot.core.chat.text import verbatim
        from bot.grammar.command import Command, Context, Group, Replies


        class Greet(Command):
            verb = "greet"
            group = Group.SEE
            examples = ("greet ada",)

            whom: str | None = Field(None, description="who is greeted", examples=["ada"])

            async def run(self, ctx: Context) -> Replies:
                yield Reply(verbatim(f"Hello, {self.whom or ctx.user.name}!"))
        ''',
    )
    said = copy.run("-m", "bot", "demo", typed="help\nhelp greet\ngreat ada\ngreet eve\n").stdout
    overview, _, rest = said.partition("> help greet")
    assert "greet [WHOM]" in overview and "says hello to somebody" in overview
    assert "who is greeted" in rest and "/llm greet ada" in rest  # a slip of it is mended, too
    assert "Hello, eve!" in rest


def test_a_language_is_a_file(copy: Copy) -> None:
    copy.add(
        "locales/nl.toml",
        """
        [gpus]
        title = "{free} van {total} GPU's zijn vrij"

        [typed]
        until = ["tot"]
        days = ["ma", "di", "wo", "do", "vr", "za", "zo"]

        [typed.verbs]
        gpus = ["kaarten"]
        """,
    )
    said = copy.run("-m", "bot", "demo", typed="kaarten\nwhoami\n", LANGUAGE="nl").stdout
    assert "8 van 8 GPU's zijn vrij" in said
    assert "ROLE" in said.upper()  # what it does not say yet is said in English
    words = ("hours=wo-vr 8-20", "ttl=tot 22:00")
    rendered = copy.run("-m", "bot", "render", "deploy", "tinyllama", *words)
    assert rendered.returncode == 0 and "wo-vr 8-20" in rendered.stdout, rendered.stderr
    refused = copy.run("-m", "bot", "demo", LANGUAGE="fr")
    assert refused.returncode == 2 and "'de', 'en' or 'nl'" in refused.stderr
