"""`python -m image_classifier`, or `python -m client` in a clone."""

from .cli.command import entry

entry()
