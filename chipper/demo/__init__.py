"""The demo: a drawn data set, and all stages of chipper on it."""
