"""Runs untrusted code, and judges programs by their tests."""
