"""One short file a job, over a common engine."""
