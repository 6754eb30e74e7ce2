"""Uploaded pictures and archives, read and checked."""
