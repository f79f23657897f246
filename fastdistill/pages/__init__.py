"""Pages of results: tables and pictures as CSV and PNG files, and one HTML page that holds them all.

==========================  ========================================================================
module                      what it has
==========================  ========================================================================
``parts``                   `Table`, `Picture`, `Report`: what a page is made of
``figures``                 colours and empty panels, in matplotlib
``html``                    the page
``files``                   the files of a page, written into a folder: all of them, or none
``errors``                  `InputError`: what the user named cannot be used
==========================  ========================================================================

Used by `fastdistill.diagnosis.page` and `fastdistill.reproduce`. This module loads nothing.
"""
