"""The one error that means: tell the person. Anything else is a bug."""

from bot.core.chat.form import Form
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text


class UserError(Exception):
    """What is wrong, what would be right, and buttons or a form to do it."""

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
        self.lines = lines
        self.buttons = buttons
        self.form = form


def refusal(error: UserError, *, form: Form | None = None, private: bool = False) -> Reply:
    """The error as it is shown; `form` asks for what is missing, in the place of the error's own."""
    return Reply(
        error.text,
        Tone.FAILED,
        lines=error.lines,
        buttons=error.buttons,
        form=form or error.form,
        private=private,
    )


class NameTaken(UserError):
    """Somebody else's create came first."""


class Changed(UserError):
    """What the decision was made on is no longer so: read again, decide again."""
