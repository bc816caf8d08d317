"""What watches a run from outside: its lock, signals, and the watchdog."""
