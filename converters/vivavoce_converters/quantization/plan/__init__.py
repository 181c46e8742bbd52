"""What is decided before anything is rewritten: products, ranges, scales, rounded weights."""
