"""The name of whoever uses the command line."""

import getpass
import os


def login() -> str:
    """As the machine knows them; in a container any user id may run the bot, also one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # before and since Python 3.13
        return str(os.getuid())
