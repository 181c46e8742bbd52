"""What `vivavoce bench` measures: stages, operators, cold starts, streams, and another runtime beside it."""
