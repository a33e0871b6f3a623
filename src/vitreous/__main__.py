"""Lets ``python -m vitreous`` stand for the command."""

from vitreous.cli import main

main()
