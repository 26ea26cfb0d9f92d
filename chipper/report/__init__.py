"""The report: a workdir on one HTML page, from figures (`gather`) to charts and words (`page`)."""
