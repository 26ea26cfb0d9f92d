"""Draw chips on their images."""
