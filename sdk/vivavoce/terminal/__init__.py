"""What every verb says on a terminal, of this package and of the builders'."""
