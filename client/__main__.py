"""`python -m image_classifier`; from a clone, `python -m client`."""

from .command import entry

entry()
