"""Zip and tar archives, read one member at a time within limits."""
