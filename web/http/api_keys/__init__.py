"""API keys: a file with a line for each key. `python -m web.http.api_keys NAME` makes a key."""

from web.http.api_keys.key import ApiKey, Limits, Scope
from web.http.api_keys.keys import ApiKeys, line, new_key

__all__ = ["ApiKey", "ApiKeys", "Limits", "Scope", "line", "new_key"]
