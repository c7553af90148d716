"""What predictions are worth: metrics, intervals, calibration, decisions, report. No torch."""
