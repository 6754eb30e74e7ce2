"""Who serves: the models that workers have loaded, and which workers are there."""
