"""Failures at random moments, under load: every accepted picture must have one result."""
