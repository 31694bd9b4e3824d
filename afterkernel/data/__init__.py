"""Problems: two or more classes of an image data set, and the sources that they come from."""

from afterkernel.data.problem import Problem
from afterkernel.data.source import Source
from afterkernel.data.sources import SOURCES

__all__ = ["SOURCES", "Problem", "Source"]
