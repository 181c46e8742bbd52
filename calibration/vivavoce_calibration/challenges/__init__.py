"""Scoring as the challenges do: their metrics, their files, and which of them prints what."""
