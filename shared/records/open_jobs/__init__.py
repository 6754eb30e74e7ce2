"""Jobs that are opened and filled in parts."""
