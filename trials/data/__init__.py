"""Labelled images from one word or path, split for good by a seed."""

from trials.data.contents import Contents
from trials.data.errors import DataError
from trials.data.image_data import ImageData, Split
from trials.data.load import load_data
from trials.data.source import Source, source_words

__all__ = ["Contents", "DataError", "ImageData", "Source", "Split", "load_data", "source_words"]
