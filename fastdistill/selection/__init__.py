"""Which penalty, weights and steps to use, and whether the data support them."""
