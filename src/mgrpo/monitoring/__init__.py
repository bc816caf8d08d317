"""What a run leaves behind and how it is read: metric names, metric rows, stability verdicts, curves."""
