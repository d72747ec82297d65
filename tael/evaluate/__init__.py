"""Judging: takes answers and references from task, gives scores, comparisons and a report."""
