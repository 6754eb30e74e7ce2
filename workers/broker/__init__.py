"""The connection of a worker to the message broker, Redis, and what happens when it is lost."""
