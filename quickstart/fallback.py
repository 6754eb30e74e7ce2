"""The demonstration model, for a machine without a network whose user named no model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

from quickstart.tether import tether
from shared.errors import ClassifierError
from shared.settings import Settings

#: A user who has set one of these wants that model and no other.
_NAMED = {"model", "model_weights", "model_labels"}

_NOW = "Now the demonstration model classifies. The next start tries the download again."


def fallback(settings: Settings) -> dict[str, str]:
    """Download torchvision's weights unless this machine has them, or choose the bundled model.

    Returns the variables that the programs need: none where the weights are here. There is one
    attempt in each start, and the next start tries again. The files of a model that the user has
    named are only checked. Raises ClassifierError where something else than the network is wrong.
    """
    named = bool(_NAMED & settings.model_fields_set)
    fetched = subprocess.run(
        [sys.executable, "-m", "workers.engine.fetch", *(["--check"] if named else [])],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=partial(tether, os.getpid(), signal.SIGKILL),
    )
    if not fetched.returncode:
        return {}
    reason = fetched.stderr.strip()
    if fetched.returncode != os.EX_UNAVAILABLE:
        raise ClassifierError(reason)
    print(f"{reason}\n{_NOW}", flush=True)
    return {"MODEL_WEIGHTS": "demonstration"}
