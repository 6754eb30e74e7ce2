"""What people would otherwise use, doing the same work with the same model file."""
