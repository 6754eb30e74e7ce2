"""How a call reaches the service: the steps of a call, its connection, retries and bodies."""
