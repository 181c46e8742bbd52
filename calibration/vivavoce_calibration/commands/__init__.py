"""The verbs that need a corpus, or scores of one."""
