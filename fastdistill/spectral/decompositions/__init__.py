"""Ways to decompose, or to solve with, a centred and weighted design or kernel matrix."""
