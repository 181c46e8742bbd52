"""Reading checkpoints: the official ones, those of this library, and running them as a reference."""
