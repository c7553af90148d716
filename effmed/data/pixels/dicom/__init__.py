"""DICOM: one frame of an object → grey levels or colour; and what its header says."""

from effmed.data.pixels.dicom.frame import read_dicom
from effmed.data.pixels.dicom.header import read_dicom_header

__all__ = ["read_dicom", "read_dicom_header"]
