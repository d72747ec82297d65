"""What bench/train.py measures: the sides, their data, and how they take turns."""
