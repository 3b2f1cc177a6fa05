"""Buttons and dialogs, whose clicks Mattermost sends to us; without an address for that, commands to type."""

from collections.abc import Sequence
from typing import Any

from bot.core.chat.form import Blank, Form
from bot.core.chat.message import Place
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Say, t
from bot.platforms.mattermost.render import commands_to_type, cut, render
from bot.platforms.mattermost.signing import Signer
from bot.platforms.shared.edits import Payload
from bot.platforms.shared.sanitize import as_code, plain

CLICK, STOP, FORM = "click", "stop", "form"
CLICK_SECONDS, FORM_SECONDS = 30 * 86_400, 3600
"""How long a button can be pressed, and a dialog be sent."""
TITLE, LABEL, SHORT, LONG = 24, 24, 150, 3000
"""Characters of a dialog's title and labels, and of what is written into one line or several."""


class Buttons:
    """`url` is where Mattermost reaches the bot (MATTERMOST_CALLBACK_URL); empty means no buttons."""

    def __init__(self, token: str, url: str) -> None:
        self.signer = Signer(token)
        self.url = url.rstrip("/")

    def payload(self, reply: Reply, say: Say, place: Place) -> Payload:
        """Text and buttons of a post; on an edit they replace those before."""
        if not self.url:
            return {"message": with_commands(reply, say), "props": {}}
        form = (Button(t("button.form"), reply.form.line),) if reply.form else ()
        drawn = self._attachments((*reply.buttons, *form), say, place)
        return {"message": cut(render(reply, say)), "props": {"attachments": drawn}}

    def stop(self, key: str, say: Say, place: Place) -> Payload:
        """The button that ends an answer."""
        if not self.url:
            return {}
        signed = self.signer.sign(STOP, key=key, channel=place.channel)
        action = self._action("stop", say(t("button.stop_answer")), STOP, signed)
        return {"attachments": [{"actions": [action]}]}

    def _attachments(self, buttons: Sequence[Button], say: Say, place: Place) -> list[Payload]:
        """The buttons in one row; or one under the other, each with its explanation."""
        actions = [self._button(number, button, say, place) for number, button in enumerate(buttons)]
        if not any(button.detail for button in buttons):
            return [{"actions": actions}] if actions else []
        explained = []
        for button, action in zip(buttons, actions, strict=True):
            detail = plain(say(button.detail)) + "\n" if button.detail else ""
            explained.append({"text": detail + as_code(f"/llm {button.command}"), "actions": [action]})
        return explained

    def _button(self, number: int, button: Button, say: Say, place: Place) -> Payload:
        signed = self.signer.sign(
            CLICK,
            line=button.command,
            about=button.about,
            label=say(button.label),
            confirm=say(button.confirm) if button.confirm else "",
            channel=place.channel,
            thread=place.thread,
        )
        style = {"style": "danger"} if button.confirm else {}
        return self._action(f"line{number}", say(button.label), CLICK, signed) | style

    def _action(self, name: str, label: str, purpose: str, signed: str) -> Payload:
        context = {"purpose": purpose, "signed": signed}
        integration = {"url": f"{self.url}/mattermost/action", "context": context}
        return {"id": name, "type": "button", "name": label, "integration": integration}

    def dialog(self, form: Form, user: str, place: Place, say: Say) -> Payload:
        """A form as a dialog; its `state` is signed, as people can read it and send it again."""
        state = self._state(
            user,
            place,
            line=form.line,
            names=" ".join(blank.name for blank in form.blanks),
            required=" ".join(blank.name for blank in form.blanks if blank.required),
        )
        elements = [_element(blank, say) for blank in form.blanks]
        return self._dialog(say(form.title), say(form.submit), state, elements=elements)

    def confirm(self, click: dict[str, str], user: str, card: str) -> Payload:
        """A dialog that asks before something that cannot be undone."""
        place = Place("mattermost", click["channel"], click["thread"])
        state = self._state(user, place, line=click["line"], about=click["about"], card=card)
        return self._dialog(click["label"], click["label"], state, introduction_text=plain(click["confirm"]))

    def _state(self, user: str, place: Place, **values: str) -> str:
        place_of = {"channel": place.channel, "thread": place.thread}
        return self.signer.sign(FORM, user=user, **place_of, **values)

    def _dialog(self, title: str, submit: str, state: str, **more: Any) -> Payload:
        shown = {"callback_id": FORM, "title": title[:TITLE], "submit_label": submit, "state": state}
        return {"url": f"{self.url}/mattermost/dialog", "dialog": {"elements": [], **shown, **more}}


def _element(blank: Blank, say: Say) -> Payload:
    """One field of a dialog."""
    element: Payload = {
        "display_name": blank.name[:LABEL],
        "name": blank.name,
        "help_text": say(blank.label)[:SHORT],
        "optional": not blank.required,
        "default": blank.value,
    }
    if blank.choices:
        options = [{"text": say(choice.label), "value": choice.value} for choice in blank.choices]
        return element | {"type": "select", "options": options}
    kind, longest = ("textarea", LONG) if blank.multiline else ("text", SHORT)
    return element | {"type": kind, "max_length": longest}


def with_commands(reply: Reply, say: Say) -> str:
    """The reply as text alone, with commands to type in the place of buttons."""
    return cut("\n".join([render(reply, say), *commands_to_type(reply.buttons, say)]))
