"""A project's jobs: listed, drawn as a tree, run again, tidied."""
