"""Graphs of networks without their weights, and the export that is made of a graph and weights."""
