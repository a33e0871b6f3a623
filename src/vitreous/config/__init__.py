"""Options of the jobs: the command line and its help are made from these classes."""
