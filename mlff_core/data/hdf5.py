"""Reading and writing the data set file: :class:`Dataset` reads it, :func:`write_dataset` writes it."""

from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledBatch, LabelledStructure, batch_from_structures
from mlff_core.data.writer import write_dataset

__all__ = ["Dataset", "LabelledBatch", "LabelledStructure", "batch_from_structures", "write_dataset"]
