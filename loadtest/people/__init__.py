"""Simulated users with different habits, for Locust."""
