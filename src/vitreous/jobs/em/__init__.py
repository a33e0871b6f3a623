"""Expectation and maximisation: what the searches of all jobs are built from."""
