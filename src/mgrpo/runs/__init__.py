"""What a run leaves on disk: its files and their formats, checkpoints, and the names of its metrics."""
