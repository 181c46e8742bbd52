"""The networks, in torch: front-ends, back-ends, and a countermeasure made of them."""
