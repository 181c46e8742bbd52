"""What an evaluation looks like: a page, its plots, and how figures are put into words."""
