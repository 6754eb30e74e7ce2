"""Helpers of several tests and load tests: running services, receivers and proxies."""
