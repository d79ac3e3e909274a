"""What crosses the isolation boundary: values, messages and frames, for both sides; no I/O."""
