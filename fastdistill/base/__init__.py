"""What every room may use: checks of arguments, warnings of runs, losses of linear models. It does not load numba."""
