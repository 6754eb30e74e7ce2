"""Zip and tar archives, read a member at a time within limits."""
