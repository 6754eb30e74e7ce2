"""Redis in other configurations: users, replicas, processes of its own."""
