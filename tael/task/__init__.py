"""Tasks: records in, loss and decoded answers out; takes model and data, gives to evaluate."""
