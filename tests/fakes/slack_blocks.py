"""Block Kit's limits: what Slack would refuse as invalid_blocks."""

from typing import Any

Block = dict[str, Any]
WHOLE_MESSAGE = 13_200
KINDS = {"section", "context", "actions", "markdown", "table", "input", "divider", "header"}


def check_message(payload: Block) -> None:
    """ValueError if a message would be refused."""
    require(payload.get("text"), "a message needs a text for those who see no blocks")
    within(payload["text"], 4000, "text")
    check_blocks(payload.get("blocks", []), 50)
    require(characters(payload.get("blocks", [])) <= WHOLE_MESSAGE, "msg_blocks_too_long")


def check_view(view: Block) -> None:
    """ValueError if a modal or home tab would be refused."""
    check_blocks(view["blocks"], 100)
    if view["type"] == "modal":
        for name in ("title", "submit", "close"):
            plain(view[name], 24)
        within(view.get("private_metadata", ""), 3000, "private_metadata")
        ids = [block["block_id"] for block in view["blocks"] if "block_id" in block]
        require(len(ids) == len(set(ids)), "block ids twice")


def check_blocks(blocks: list[Block], most: int) -> None:
    """Each by its kind."""
    require(len(blocks) <= most, "too many blocks")
    actions: list[str] = []
    for block in blocks:
        require(block["type"] in KINDS, f"unknown block {block['type']}")
        within(block.get("block_id", "-"), 255, "block_id")
        globals()[f"_{block['type']}"](block, actions)
    require(len(actions) == len(set(actions)), "action ids twice")


def _section(block: Block, actions: list[str]) -> None:
    require("text" in block or "fields" in block, "a section needs text or fields")
    if "text" in block:
        mrkdwn(block["text"], 3000)
    require(len(block.get("fields", [])) <= 10, "fields")
    for field in block.get("fields", []):
        mrkdwn(field, 2000)
    if "accessory" in block:
        _button(block["accessory"], actions)


def _context(block: Block, actions: list[str]) -> None:
    require(1 <= len(block["elements"]) <= 10, "context elements")
    for element in block["elements"]:
        mrkdwn(element, 3000)


def _actions(block: Block, actions: list[str]) -> None:
    require(1 <= len(block["elements"]) <= 25, "actions")
    for element in block["elements"]:
        _button(element, actions)


def _button(button: Block, actions: list[str]) -> None:
    require(button["type"] == "button", "only buttons")
    plain(button["text"], 75)
    within(button["value"], 2000, "value", least=0)
    within(button["action_id"], 255, "action_id")
    actions.append(button["action_id"])
    require(button.get("style") in (None, "primary", "danger"), "style")
    if "confirm" in button:
        plain(button["confirm"]["title"], 100)
        plain(button["confirm"]["text"], 300)
        plain(button["confirm"]["confirm"], 30)
        plain(button["confirm"]["deny"], 30)


def _markdown(block: Block, actions: list[str]) -> None:
    within(block["text"], 12_000, "markdown")


def _table(block: Block, actions: list[str]) -> None:
    require(1 <= len(block["rows"]) <= 100, "rows")
    for row in block["rows"]:
        require(1 <= len(row) <= 20, "columns")
        for cell in row:
            require(cell["type"] in ("raw_text", "rich_text", "raw_number"), "cell")
            require(cell["text"], "an empty cell")


def _input(block: Block, actions: list[str]) -> None:
    plain(block["label"], 2000)
    element = block["element"]
    if element["type"] == "static_select":
        require(1 <= len(element["options"]) <= 100, "options")
        for option in element["options"]:
            plain(option["text"], 75)
            within(option["value"], 150, "option value")
        first = element.get("initial_option")
        require(first is None or first in element["options"], "initial option")
    else:
        require(element["type"] == "plain_text_input", "element")
        require(1 <= element.get("max_length", 3000) <= 3000, "max_length")


def plain(text: Block, most: int) -> None:
    """A plain_text object."""
    require(text["type"] == "plain_text", "plain_text")
    within(text["text"], most, "plain_text")


def mrkdwn(text: Block, most: int) -> None:
    """A mrkdwn object that calls nobody."""
    require(text["type"] == "mrkdwn", "mrkdwn")
    within(text["text"], most, "mrkdwn")
    require("<!" not in text["text"] and "<@" not in text["text"], f"calls somebody: {text['text'][:80]}")


def within(text: str, most: int, what: str, least: int = 1) -> None:
    """A string of a length that Slack takes."""
    require(isinstance(text, str) and least <= len(text) <= most, f"{what}: {len(text)} characters")


def require(true: object, what: str) -> None:
    """ValueError unless it is so."""
    if not true:
        raise ValueError(what)


def characters(thing: object) -> int:
    """Characters of all texts in it."""
    if isinstance(thing, dict):
        own = len(thing["text"]) if isinstance(thing.get("text"), str) else 0
        return own + sum(characters(value) for value in thing.values())
    return sum(map(characters, thing)) if isinstance(thing, list) else 0
