"""A drawn data set, and a run of all stages on it."""
