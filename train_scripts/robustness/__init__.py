"""What answers do when the recording changes."""
