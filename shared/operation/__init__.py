"""What an operator sees and decides: the state of each lane, and what each worker runs."""
