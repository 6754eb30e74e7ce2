"""How the bundled demonstration model was trained. Nothing here runs in a worker."""
