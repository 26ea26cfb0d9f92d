"""A drawn data set, and the whole chain on it."""
