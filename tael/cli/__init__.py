"""The command line: takes what was typed, calls one function of another room, shows its answer."""
