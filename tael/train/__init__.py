"""Takes a recipe, batches, a model and a task; gives a run directory to every room on its right."""
