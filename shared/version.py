"""The version of the release. `.ci/release` sets it here and in all other places."""

from __future__ import annotations

VERSION = "0.1.0"
