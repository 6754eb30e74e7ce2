"""The end of a job: cancelled by its owner, abandoned, or complete."""
