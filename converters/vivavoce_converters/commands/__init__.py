"""The builders' verbs of the command `vivavoce`."""
