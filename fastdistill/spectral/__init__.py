"""One decomposition and every student that follows from it.

``spectrum`` is the door; ``frame`` centres and weights; ``decompositions`` turn a matrix into eigenvalues, bases and
solutions; ``students`` and ``path`` give fits, coefficients and predictions; ``leave_one_out`` and ``gaussian_process``
what is left without a sample, and how sure a prediction is.
"""
