"""One way to draw each thing, as displays of scikit-learn's kind: data first, then ``.plot(ax=)``.

======================  ============================================================================
module                  what it has
======================  ============================================================================
``display``             `Display`: axes, columns and the pandas table, which all displays share
``curves``              `PathDisplay`: error against penalty, a line for each step
``choices``             `TuningDisplay`: leave-one-out curves, the choice, gains with standard errors
``spectra``             `SpectrumDisplay`: eigenvalues, where the signal sits, filters
``training``            the spectrum that an estimator has of its training samples
``traces``              `TraceDisplay`: what SGD records, a line for each configuration
======================  ============================================================================

A display holds its data as arrays. ``display.plot(ax=None)`` draws one panel and returns the display, with ``ax_`` and
``figure_``; ``display.columns()`` are the numbers of the picture, ``display.frame()`` the same as a pandas table. Data
are made without matplotlib, which only ``plot`` needs.
"""

from fastdistill.base.lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
