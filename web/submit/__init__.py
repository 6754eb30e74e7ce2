"""Accepting pictures: admission, the result cache, storing and queueing."""
