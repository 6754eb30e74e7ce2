"""The command `image-classifier`."""
