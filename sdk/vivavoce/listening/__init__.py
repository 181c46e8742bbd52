"""From samples to verdicts: which windows, what speaks against trusting them, and what they come to."""
