"""The verbs of the command `vivavoce`: one typed function each, which returns the exit code."""
