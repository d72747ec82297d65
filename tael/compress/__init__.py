"""Takes a finished run; gives variants of its model to serve: smaller, faster, cheaper."""
