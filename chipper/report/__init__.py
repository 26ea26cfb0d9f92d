"""The report: a workdir on one HTML page. `collect` gathers the figures, `page` writes charts and text."""
