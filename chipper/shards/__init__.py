"""Chips as pixels: rendering, WebDataset shards, reading samples back, verifying."""
