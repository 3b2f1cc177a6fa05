"""mmpy_bot doing a bare echo, in an environment of its own: what Mattermost is used with today."""

import os
from urllib.parse import urlsplit

from mmpy_bot import Bot, Message, Plugin, Settings, listen_to


class Echo(Plugin):  # type: ignore[misc] # its package has no types
    """The least that answers."""

    @listen_to("gpus", needs_mention=False)  # type: ignore[untyped-decorator]
    async def echo(self, message: Message) -> None:
        self.driver.reply_to(message, message.text)


address = urlsplit(os.environ["BENCH_URL"])
Bot(
    settings=Settings(
        MATTERMOST_URL=f"http://{address.hostname}",
        MATTERMOST_PORT=address.port,
        BOT_TOKEN=os.environ["BENCH_TOKEN"],
        BOT_TEAM="informatik",
        LOG_LEVEL=30,
    ),
    plugins=[Echo()],
).run()
