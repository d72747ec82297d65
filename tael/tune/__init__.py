"""Takes a recipe; gives what would make it better, found by small trials that change no run."""
