"""Would self-distillation help on a table? `diagnose`, what it makes of columns of text and gaps, and its page.

======================  ============================================================================
module                  what it has
======================  ============================================================================
``cells``               the cells of a file: text, numbers and gaps
``columns``             what ``.`` and ``,`` mean in a column
``table``               columns into numbers, and notes of what was done to them
``read_table``          a file into columns
``diagnosis``           `diagnose`: ridge beside its students, and where the signal sits
``page``                a diagnosis as an HTML page with pictures
======================  ============================================================================
"""

from fastdistill.diagnosis.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
