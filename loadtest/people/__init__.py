"""Locust users with different habits."""
