"""One problem and every student of it, by one decomposition or one solver.

``spectrum`` is the public entry. ``frame`` centres and weights; ``problems`` hold a design or kernel before anything is
computed; ``decompositions`` turn it into eigenvalues and bases, or into solutions. ``students``, ``path`` and the paths
of solvers give fits, coefficients and predictions, ``leave_one_out`` predictions without each sample, and
``gaussian_process`` standard deviations. ``batch`` solves many small problems at once.
"""
