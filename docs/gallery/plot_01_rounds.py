"""
What does a round of distillation do to ridge?
==============================================

x
"""
import fastdistill as fd
print(fd.__version__)
