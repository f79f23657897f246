from fastdistill.plot.choices import Choice as Choice
from fastdistill.plot.choices import TuningDisplay as TuningDisplay
from fastdistill.plot.curves import PathDisplay as PathDisplay
from fastdistill.plot.spectra import SpectrumDisplay as SpectrumDisplay
from fastdistill.plot.traces import TraceDisplay as TraceDisplay

__all__: list[str]

def __dir__() -> list[str]: ...
