"""The chat platforms, a folder each; a new folder needs no edit anywhere else.

A folder that is configured by settings has `settings.py` (one subclass of `PlatformSettings`, read from the
environment at start) and `factory.py` (`create(settings, surroundings)` makes the `Platform`). Its doctor
checks and its HTTP endpoints are methods of that `Platform`. What is in `shared` belongs to all of them."""

from pkgutil import iter_modules

SHARED = "shared"
NAMES = tuple(
    sorted(module.name for module in iter_modules(__path__) if module.ispkg and module.name != SHARED)
)
"""Names of the platforms: those of their folders, and the `platform` of a `Place`."""
