"""Log lines of a service as flat dictionaries, and the fields of the index template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGGING = Path(__file__).parents[2] / "logging"

Line = dict[str, Any]


def flat(line: Line, prefix: str = "") -> Line:
    """The values of a line by dotted name."""
    values: Line = {}
    for name, value in line.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def lines_of(text: str) -> list[Line]:
    """Our lines in a program's output."""
    lines = (line for line in text.splitlines() if line.startswith('{"@timestamp'))
    return [flat(json.loads(line)) for line in lines]


def template_properties() -> dict[str, Any]:
    text = (LOGGING / "elasticsearch/index-template.json").read_text()
    properties: dict[str, Any] = json.loads(text)["template"]["mappings"]["properties"]
    return properties


def template_fields() -> set[str]:
    """The dotted names of all fields in the index template."""

    def names(properties: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, spec in properties.items():
            if "properties" in spec:
                yield from names(spec["properties"], f"{prefix}{name}.")
            else:
                yield prefix + name

    return set(names(template_properties()))


def saved_objects() -> list[dict[str, Any]]:
    """Kibana's saved objects."""
    text = (LOGGING / "kibana/saved-objects.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]
