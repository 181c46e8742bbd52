"""Teaching a student: recipes, batches, losses."""
