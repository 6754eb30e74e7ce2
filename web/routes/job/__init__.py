"""The calls below `/jobs/<id>`."""
