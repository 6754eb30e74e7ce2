"""The demonstration model, where nobody has named a model and the network does not bring one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

from quickstart.tether import tether
from shared.errors import ClassifierError
from shared.settings import Settings

#: Whoever has set one of these wants that model and no other.
_NAMED = {"model", "model_weights", "model_labels"}


def fallback(settings: Settings) -> dict[str, str]:
    """What the programs are told of the model: nothing where they find torchvision's weights here.

    The one attempt of this start to download them: what comes of it is in the programs'
    environment, and the next start tries again. Raises ClassifierError where they cannot be had
    for another reason than the network.
    """
    if _NAMED & settings.model_fields_set:
        return {}
    fetched = subprocess.run(
        [sys.executable, "-m", "workers.engine.fetch"],
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
    print(f"{reason}\nUntil then, the demonstration model classifies.", flush=True)
    return {"MODEL_WEIGHTS": "demonstration"}
