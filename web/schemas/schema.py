"""What the schemas have in common."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from shared.jobs import MAX_TOP_K

DEFAULT_TOP_K = 5
TopK = Annotated[
    int, Field(ge=1, le=MAX_TOP_K, description="Number of predictions for each picture.")
]

MinScore = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="A picture whose best label has a lower probability gets no label.",
    ),
]

#: Type of a field that may be left out. Only JSON can carry a null; a form or a query cannot.
Unsaid = SkipJsonSchema[None]

Wait = Annotated[
    float | Unsaid,
    Field(ge=0, description="Seconds to wait for the end. `Prefer: wait=n` means the same."),
]


_REQUESTS: dict[str, type[BaseModel]] = {}


def fields_of(request: str) -> list[str]:
    """The fields of a subclass of Request by its name; none if there is no such class."""
    return list(_REQUESTS[request].model_fields) if request in _REQUESTS else []


class Schema(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Request(Schema):
    """Refuses fields that it does not know: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        _REQUESTS[cls.__name__] = cls

    @classmethod
    @cache
    def model_json_schema(  # type: ignore[override]
        cls, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Made once: flask-openapi asks for it at every request, and it takes a millisecond."""
        return super().model_json_schema(*args, **kwargs)
