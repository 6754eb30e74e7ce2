"""Weights of networks: downloaded, and read without running code from the file."""
