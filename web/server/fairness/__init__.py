"""How the clients of a web process share it and take turns."""
