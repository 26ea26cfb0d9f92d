"""Chips drawn on their images."""
