"""`python -m image_classifier`; from a clone, `python -m client`."""

from .cli.command import entry

entry()
