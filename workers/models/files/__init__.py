"""Reads the files from which packages are made, and refuses those that are something else."""
