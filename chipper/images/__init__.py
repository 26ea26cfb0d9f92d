"""Find image files and read their pixels."""
