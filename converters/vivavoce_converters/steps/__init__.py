"""The steps from a checkpoint to a bundle for a machine, each from one file or bundle to the next."""
