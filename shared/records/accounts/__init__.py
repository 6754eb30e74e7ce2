"""What the service keeps for each client."""
