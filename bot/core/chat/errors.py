"""The error that is shown to the person who asked. Any other exception is a bug."""

import secrets
from collections.abc import Awaitable, Callable

from bot.core.chat.form import Form
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t


class UserError(Exception):
    """A person asked for something that cannot be done: what is wrong, and what would be right."""

    def __init__(
        self,
        text: Text,
        *,
        lines: tuple[Text, ...] = (),
        buttons: tuple[Button, ...] = (),
        form: Form | None = None,
    ) -> None:
        super().__init__(text.key, text.params)
        self.text = text
        """What is wrong, in one sentence."""
        self.lines = lines
        """More about it, a line each."""
        self.buttons = buttons
        """Commands that would do what was meant, or help."""
        self.form = form
        """A form for what was left out; None: there is none."""


def refusal(error: UserError, *, form: Form | None = None, private: bool = False) -> Reply:
    """The error as a reply. A `form` takes the place of the error's own."""
    return Reply(
        error.text,
        Tone.FAILED,
        lines=error.lines,
        buttons=error.buttons,
        form=form or error.form,
        private=private,
    )


class Bug:
    """An error that nobody expected: the log has it under an id, and the person is told that id."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(4)
        """What to look for in the log."""
        self.reply = Reply(t("error.internal", id=self.id), Tone.FAILED, private=True)
        """What the person is told."""


class NameTaken(UserError):
    """There is a deployment of this name already: somebody else was faster."""


class Changed(UserError):
    """The workload has changed since it was read: read it again and decide again."""


class OutcomeUnknown(UserError):
    """A change was asked for, and the answer was lost: it may have been made, or not."""

    def __init__(self, text: Text, look: Callable[[], Awaitable[bool | None]]) -> None:
        super().__init__(text)
        self.look = look
        """Looks for a minute at most whether it was made; None: that is still not known."""
