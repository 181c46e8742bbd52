"""What is rewritten: a file for each, with its formula and its source."""
