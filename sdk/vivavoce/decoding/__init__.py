"""Decoding: from whatever holds audio to samples."""
