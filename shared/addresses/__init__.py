"""Addresses and host names that settings and users give."""
