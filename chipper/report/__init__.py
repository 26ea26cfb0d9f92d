"""A report on a workdir as one HTML page. `collect` gathers the figures, `page` writes charts and text."""
