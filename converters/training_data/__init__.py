"""Builds a training corpus of clean, full-band speech out of packages: human, synthesized and resynthesized."""
