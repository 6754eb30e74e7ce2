"""Evaluation: how often the labels are right, and which pictures are worth a look."""
