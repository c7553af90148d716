"""DICOM: one frame of an object → grey levels or colour; and what its header says."""

from effmed.data.pixels.dicom.frame import read_dicom
from effmed.data.pixels.dicom.header import plain_header, read_dicom_header

__all__ = ["plain_header", "read_dicom", "read_dicom_header"]
