"""How many seconds the decoding of a batch may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.jobs import Lane
from shared.settings import Settings
from workers.decode.decoder import Trial

#: Of the time limit of a batch. The rest is for the model, and to put parts back.
_LONGEST = 0.8

#: A photo that is decoded in one call may take so many times the first try. To decode a large HEIC
#: once more would cost other clients more than this does.
_IN_A_CALL = 3


@dataclass(frozen=True, kw_only=True)
class DecodeBudget:
    """Seconds that decoding may take."""

    batch: float  #: Of a batch, after which it decodes nothing more. It decodes at least one.
    alone: float | None = None  #: The same of a batch that runs alone, if it has more time.
    run: float = math.inf  #: Of a run, which then ends, so that its pictures are answered.
    turn: float = math.inf  #: Of a client, which then lets the others of its batch go first.
    slow: float = math.inf  #: Of a picture. One that takes more processor time is slow.
    much: float = math.inf  #: Of a client. One that takes more processor time in a batch is slow.
    #: Of a picture. A client is slow, too, if such pictures spend a batch by the clock.
    heavy: float = math.inf
    #: Of a picture in a batch with others, by the clock. It then gets a batch of its own.
    picture: float = math.inf
    longest: float = math.inf  #: Of a batch, after which a slow picture is given up.
    trial: Trial | None = None  #: Limits of the first try of a picture. None without.

    @classmethod
    def of(cls, settings: Settings) -> DecodeBudget:
        """A batch ends well within its time limit, and soon for other clients.

        In a second it decodes some ten photos of 12 megapixels. A run of a batch that runs alone
        has the time for half a part of them, because shorter runs took a tenth more time.
        """
        most = settings.batch_time_limit_seconds / 3
        seconds = settings.max_decode_seconds
        slow, longest = seconds / 10, _LONGEST * settings.batch_time_limit_seconds
        batch = min(seconds / 3, most)
        if settings.lane is Lane.BULK:
            return cls(
                batch=batch,
                alone=min(seconds, most),
                run=seconds / 2,
                turn=batch / 2,
                slow=slow,
                much=seconds / 3,
                heavy=slow / 6,
                picture=seconds,
                longest=longest,
            )
        trial = Trial(slow, settings.max_image_pixels // 3, call_seconds=_IN_A_CALL * slow)
        return cls(
            batch=batch,
            run=slow,
            turn=slow,
            slow=slow,
            picture=seconds,
            longest=longest,
            trial=trial,
        )
