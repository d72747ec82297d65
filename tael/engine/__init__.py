"""Takes a variant; gives a predictor that runs it, in batches that change no answer."""
