"""Render chips, write them as WebDataset shards, read samples back, verify shards."""
