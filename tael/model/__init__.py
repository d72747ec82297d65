"""The Transformer and its weights: takes a config or a folder, gives a network to task and up."""
