"""Upload a folder of any size in parts, and resume it."""
