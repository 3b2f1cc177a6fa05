"""Chooses the model that a question is for."""

from collections.abc import Sequence

from cachetools import LRUCache

from bot.core.chat.errors import UserError
from bot.core.chat.form import Blank, Form
from bot.core.chat.message import Place, User
from bot.core.chat.reply import Button
from bot.core.chat.text import t, verbatim
from bot.core.deployment.names import object_name
from bot.core.deployment.workload import Phase, Workload
from bot.core.fit.catalog import Catalog
from bot.core.ports import ClusterReader, Messenger

PLACES_KEPT = 1000
"""Places whose last model is remembered."""


class ModelSelector:
    """Chooses the model that the question names, else the last one that was asked in this place, else the
    person's only one, else the only one that is ready."""

    def __init__(self, cluster: ClusterReader, catalog: Catalog, messenger: Messenger) -> None:
        self._cluster = cluster
        self._catalog = catalog
        self._messenger = messenger
        self._last: LRUCache[Place, str] = LRUCache(PLACES_KEPT)

    def remember(self, place: Place, workload: Workload) -> None:
        """Remember that this is the last model that was asked in a place."""
        self._last[place] = object_name(workload.name)

    async def choose(self, text: str, user: User, place: Place) -> tuple[Workload, str]:
        """The workload, and the question without its name. UserError, with buttons to choose, if it is not
        clear."""
        workloads = {object_name(w.name): w for w in self._cluster.workloads()}
        first, _, rest = text.partition(" ") if "\n" not in text.split(" ")[0] else (text, "", "")
        if named := workloads.get(object_name(first)) or self._by_model(first, workloads):
            if not rest.strip():
                raise UserError(t("ask.what", name=named.name), form=_form(named.name))
            return named, rest.strip()
        if last := workloads.get(await self._last_asked(place)):
            return last, text
        own = [w for w in workloads.values() if w.record.owner == user.id]
        ready = [w for w in workloads.values() if w.phase is Phase.READY]
        for group in (own, ready):
            if len(group) == 1:
                return group[0], text
        raise self._unclear(own or ready or list(workloads.values()), text)

    async def _last_asked(self, place: Place) -> str:
        """The object name of the model that was asked last in this place, or whose card began the thread;
        empty if there is none."""
        if place in self._last:
            return self._last[place]
        for workload in self._cluster.workloads():
            card_place = workload.record.card_place
            if (
                place.thread
                and workload.record.card_message_id == place.thread
                and card_place
                and card_place.channel == place.channel
            ):
                return object_name(workload.name)
        answered = [turn.workload for turn in await self._messenger.history(place) if turn.workload]
        return object_name(answered[-1]) if answered else ""

    def _by_model(self, word: str, workloads: dict[str, Workload]) -> Workload | None:
        found = self._catalog.find(word)
        if found is None:
            return None
        key = found[0].key
        running = [w for w in workloads.values() if w.spec.model == key]
        if running:
            return running[0]
        button = Button(verbatim(f"/llm deploy {key}"), f"deploy {key}")
        raise UserError(t("ask.not_running", name=word), buttons=(button,))

    def _unclear(self, choices: Sequence[Workload], text: str) -> UserError:
        if not choices:
            hint = (Button(verbatim("/llm models"), "models"),)
            return UserError(t("ask.nothing_runs"), buttons=hint)
        buttons = tuple(Button(verbatim(w.name), f"ask {w.name} {text}") for w in choices[:5])
        return UserError(t("ask.which"), buttons=buttons)


def _form(name: str) -> Form:
    blank = Blank("text", t("field.text"), required=True, multiline=True)
    return Form(t("form.ask"), f"ask {name}", (blank,), t("button.ask"))
