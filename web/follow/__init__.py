"""Telling clients how a job goes on: waits, events, results."""
